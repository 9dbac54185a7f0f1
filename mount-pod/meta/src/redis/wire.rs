//! The connection: commands with a deadline, scripts that load themselves.

use std::sync::Arc;

use carafe_types::{Error, Result};
use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind, Value,
    aio::ConnectionLike,
};

use super::{
    space::{placed, placed_all},
    target::Target,
};
use crate::{
    engine::Terms,
    line::Line,
    retry::{Failure, Pause},
};

/// Commands over the line.
pub(super) struct Wire {
    pub(super) line: Arc<Line<Target>>,
    /// What stands before each key; see [`super::space`].
    pub(super) prefix: Vec<u8>,
}

impl Wire {
    /// Runs one command once.
    pub(super) async fn command(&self, terms: Terms, command: &Cmd) -> Result<Value, Failure> {
        let (number, mut connection) = self.line.get(terms).await?;
        let command = placed(command, &self.prefix);
        let one = async {
            connection
                .req_packed_command(&command)
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
        let pipeline = placed_all(pipeline, &self.prefix);
        let all = async {
            let values = connection
                .req_packed_commands(&pipeline, 0, pipeline.len())
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
            if error.is_unrecoverable_error() || is_stranger(&error) || is_elsewhere(&error) {
                self.line.lost(number, &format!("redis: {error}"));
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

/// Whether the volume is on another server by now: a new connection goes there.
fn is_elsewhere(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::ClusterDown
        )
    )
}

/// What an error means for a retry. Redis's texts hold no password.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failure(error: RedisError) -> Failure {
    let text = format!("redis: {error}");
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => Failure::Lost(NO_SCRIPT.into()),
        ErrorKind::Server(
            ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain | ServerErrorKind::Ask,
        )
        | ErrorKind::Io => Failure::Lost(text),
        _ if is_stranger(&error) || is_elsewhere(&error) => Failure::Lost(text),
        _ if error.is_connection_dropped() || error.is_timeout() || error.is_io_error() => {
            Failure::Lost(text)
        }
        _ if error.code() == Some("OOM") => Failure::Final(Error::NoSpace),
        _ => Failure::Final(Error::Io(text)),
    }
}
