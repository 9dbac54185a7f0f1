//! The connection: commands with a deadline, scripts that load themselves.

use std::{sync::Arc, time::Duration};

use carafe_types::{Error, Result};
use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind, Value,
    aio::ConnectionLike,
};

use super::line::Line;
use crate::engine::Terms;

/// Why a command was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection was lost, or the server is not ready: it may or may not have
    /// been done.
    Lost(String),
    /// It was refused, or the time is over.
    Final(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(reason) => Self::Io(format!("redis: {reason}")),
            Failure::Final(error) => error,
        }
    }
}

/// Commands over the line.
pub(super) struct Wire {
    pub(super) line: Arc<Line>,
}

impl Wire {
    /// Runs one command once.
    pub(super) async fn command(&self, terms: Terms, command: &Cmd) -> Result<Value, Failure> {
        let (number, mut connection) = self.line.get(terms).await?;
        let one = async {
            connection
                .req_packed_command(command)
                .await?
                .extract_error()
        };
        self.within(terms, number, one).await
    }

    /// Runs several commands in one trip.
    pub(super) async fn pipeline(
        &self,
        terms: Terms,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, Failure> {
        let (number, mut connection) = self.line.get(terms).await?;
        let all = async {
            let values = connection
                .req_packed_commands(pipeline, 0, pipeline.len())
                .await?;
            values.into_iter().map(Value::extract_error).collect()
        };
        self.within(terms, number, all).await
    }

    /// Waits for an answer on the connection with this number.
    async fn within<T>(
        &self,
        terms: Terms,
        number: u64,
        work: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Failure> {
        let Ok(done) = tokio::time::timeout_at(terms.deadline.into(), work).await else {
            return Err(Failure::Final(Terms::timed_out("redis did not answer")));
        };
        done.map_err(|error| {
            if error.is_unrecoverable_error() || is_stranger(&error) {
                self.line.lost(number, &error.to_string());
            }
            failure(error)
        })
    }

    /// Runs a script, which is sent whole only if the server does not know it.
    pub(super) async fn script(
        &self,
        terms: Terms,
        script: &Script,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
    ) -> Result<Value, Failure> {
        let command = evaluate(script, keys, arguments);
        match self.command(terms, &command).await {
            Err(Failure::Lost(reason)) if reason == NO_SCRIPT => {
                self.load(terms, script).await?;
                self.command(terms, &command).await
            }
            other => other,
        }
    }

    /// Makes the server know a script.
    pub(super) async fn load(&self, terms: Terms, script: &Script) -> Result<(), Failure> {
        let (number, mut connection) = self.line.get(terms).await?;
        self.within(terms, number, script.load_async(&mut connection))
            .await
            .map(|_| ())
    }

    /// Runs a command that may be repeated, until it is answered or the time is over.
    pub(super) async fn steady(&self, terms: Terms, command: &Cmd) -> Result<Value> {
        let mut pause = Pause::default();
        loop {
            match self.command(terms, command).await {
                Ok(value) => return Ok(value),
                Err(Failure::Lost(reason)) => pause.wait(terms, &reason).await?,
                Err(Failure::Final(error)) => return Err(error),
            }
        }
    }

    /// As [`Wire::steady`], for several commands.
    pub(super) async fn steady_pipeline(
        &self,
        terms: Terms,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>> {
        let mut pause = Pause::default();
        loop {
            match self.pipeline(terms, pipeline).await {
                Ok(values) => return Ok(values),
                Err(Failure::Lost(reason)) => pause.wait(terms, &reason).await?,
                Err(Failure::Final(error)) => return Err(error),
            }
        }
    }
}

/// EVALSHA with its keys and arguments.
pub(super) fn evaluate(script: &Script, keys: &[Vec<u8>], arguments: &[Vec<u8>]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys.len());
    keys.iter().chain(arguments).for_each(|argument| {
        command.arg(argument);
    });
    command
}

/// How [`Failure::Lost`] says that the server does not know the script.
pub(super) const NO_SCRIPT: &str = "the script is not loaded";

/// Whether the server does not know, or no longer, as whom we speak.
fn is_stranger(error: &RedisError) -> bool {
    error.code() == Some("NOAUTH")
}

/// What an error means for a retry. Redis's texts hold no password.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failure(error: RedisError) -> Failure {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => Failure::Lost(NO_SCRIPT.into()),
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::ReadOnly,
        )
        | ErrorKind::Io => Failure::Lost(text),
        _ if is_stranger(&error) => Failure::Lost(text),
        _ if error.is_connection_dropped() || error.is_timeout() || error.is_io_error() => {
            Failure::Lost(text)
        }
        _ if error.code() == Some("OOM") => Failure::Final(Error::NoSpace),
        _ => Failure::Final(Error::Io(format!("redis: {text}"))),
    }
}

/// Growing pauses with jitter.
#[derive(Default)]
pub(super) struct Pause {
    tries: u32,
}

impl Pause {
    /// Waits before the next try; `TimedOut` with `reason` if there is no time for one.
    pub(super) async fn wait(&mut self, terms: Terms, reason: &str) -> Result<()> {
        self.tries += 1;
        let most = 10_000 << self.tries.min(6);
        self.sleep(terms, most / 2 + below(most / 2), reason).await
    }

    /// As [`Pause::wait`], for a guard that did not hold: another client was first,
    /// and the next try is worth making soon.
    pub(super) async fn yield_to_others(&mut self, terms: Terms) -> Result<()> {
        self.tries += 1;
        let most = if self.tries <= 2 {
            0
        } else {
            100 << self.tries.min(9)
        };
        self.sleep(
            terms,
            below(most),
            "other clients change the same inodes all the time",
        )
        .await
    }

    async fn sleep(&self, terms: Terms, micros: u64, reason: &str) -> Result<()> {
        let until = std::time::Instant::now() + Duration::from_micros(micros);
        if until >= terms.deadline {
            return Err(Terms::timed_out(format!("redis: {reason}")));
        }
        if micros > 0 {
            tokio::time::sleep_until(until.into()).await;
        }
        Ok(())
    }
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
