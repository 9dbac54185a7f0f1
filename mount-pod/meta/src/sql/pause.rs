//! When to try again.

use std::time::{Duration, Instant};

use carafe_types::Result;

use crate::engine::Terms;

/// Growing pauses with jitter.
#[derive(Default)]
pub(super) struct Pause {
    tries: u32,
}

impl Pause {
    /// Waits before the next try after a loss; `TimedOut` with `reason` if there is no
    /// time for one.
    pub(super) async fn wait(&mut self, terms: Terms, reason: &str) -> Result<()> {
        self.tries += 1;
        let most = 10_000 << self.tries.min(5);
        sleep(terms, most / 2 + below(most / 2), reason).await
    }

    /// As [`Pause::wait`], when another client was first: the next try is worth making
    /// soon.
    pub(super) async fn yield_to_others(&mut self, terms: Terms, reason: &str) -> Result<()> {
        self.tries += 1;
        let most = if self.tries <= 2 {
            0
        } else {
            200 << self.tries.min(9)
        };
        sleep(terms, below(most), reason).await
    }
}

async fn sleep(terms: Terms, micros: u64, reason: &str) -> Result<()> {
    let until = Instant::now() + Duration::from_micros(micros);
    if until >= terms.deadline {
        return Err(Terms::timed_out(reason));
    }
    if micros > 0 {
        tokio::time::sleep_until(until.into()).await;
    }
    Ok(())
}

/// A random time up to `most`.
pub(super) fn jitter(most: Duration) -> Duration {
    Duration::from_micros(below(most.as_micros() as u64))
}

fn below(most: u64) -> u64 {
    if most == 0 {
        0
    } else {
        uuid::Uuid::new_v4().as_u128() as u64 % most
    }
}
