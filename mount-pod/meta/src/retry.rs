//! What failed, whether it is worth another try, and when.

use std::time::Duration;

use carafe_types::{Error, Result};

use crate::engine::Terms;

/// Why a command was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection was lost, or the server is not ready: it may or may not have
    /// been done.
    Lost(String),
    /// It was refused, or the time is over.
    Final(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(reason) => Self::Io(reason),
            Failure::Final(error) => error,
        }
    }
}

/// Why a guard does not hold, over and over.
pub(crate) const CONTENDED: &str = "other clients change the same inodes all the time";

/// Growing pauses with jitter.
#[derive(Default)]
pub(crate) struct Pause {
    tries: u32,
}

impl Pause {
    /// Waits before the next try; `TimedOut` with `reason` if there is no time for one.
    pub(crate) async fn wait(&mut self, terms: Terms, reason: &str) -> Result<()> {
        self.tries += 1;
        let most = 10_000 << self.tries.min(6);
        self.sleep(terms, most / 2 + below(most / 2), reason).await
    }

    /// As [`Pause::wait`], for a guard that did not hold: another client was first,
    /// and the next try is worth making soon.
    pub(crate) async fn yield_to_others(&mut self, terms: Terms, reason: &str) -> Result<()> {
        self.tries += 1;
        let most = if self.tries <= 2 {
            0
        } else {
            100 << self.tries.min(9)
        };
        self.sleep(terms, below(most), reason).await
    }

    async fn sleep(&self, terms: Terms, micros: u64, reason: &str) -> Result<()> {
        let until = std::time::Instant::now() + Duration::from_micros(micros);
        if until >= terms.deadline {
            return Err(Terms::timed_out(reason));
        }
        if micros > 0 {
            tokio::time::sleep_until(until.into()).await;
        }
        Ok(())
    }
}

/// A random time up to `most`.
pub(crate) fn jitter(most: Duration) -> Duration {
    Duration::from_micros(below(most.as_micros() as u64))
}

fn below(most: u64) -> u64 {
    if most == 0 {
        0
    } else {
        uuid::Uuid::new_v4().as_u128() as u64 % most
    }
}
