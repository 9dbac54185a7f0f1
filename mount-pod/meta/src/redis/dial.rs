//! One new connection, and what a server's refusal means for the user.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, ErrorKind, RedisError, RedisResult, aio::MultiplexedConnection,
};

use super::target::{Login, Target};
use crate::{ConnectError, line};

/// What to do about a login that is missing or wrong.
const REMEDY: &str = "META_PASSWORD, or the password in metaurl (redis://:password@host)";

impl line::Target for Target {
    type Connection = MultiplexedConnection;

    fn place(&self) -> &str {
        &self.name
    }

    async fn dial(&self, patience: Duration) -> Result<MultiplexedConnection, ConnectError> {
        dial(self, patience).await
    }
}

/// A new connection, logged in and on the target's database.
pub(super) async fn dial(
    target: &Target,
    patience: Duration,
) -> Result<MultiplexedConnection, ConnectError> {
    let server = target.server()?;
    // What is asked later has deadlines of its own.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(None);
    let connecting = async {
        let mut connection = server
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        log_in(&mut connection, &target.login).await?;
        // Asks something in any case: a server that wants a password says so now.
        let (verb, database) = match target.database {
            0 => ("PING", None),
            number => ("SELECT", Some(number)),
        };
        let mut settle = redis::cmd(verb);
        settle.arg(database);
        settle.exec_async(&mut connection).await?;
        Ok(connection)
    };
    told(target, patience, connecting).await
}

async fn log_in(connection: &mut MultiplexedConnection, login: &Login) -> RedisResult<()> {
    let Some(password) = &login.password else {
        return Ok(());
    };
    let mut auth = redis::cmd("AUTH");
    auth.arg(&login.user).arg(password.expose());
    match auth.exec_async(connection).await {
        // The server's words may repeat what it did not understand: only its verdict
        // goes on.
        Err(error) if is_verdict(&error) => Err(RedisError::from((
            ErrorKind::AuthenticationFailed,
            "the user or the password is wrong",
        ))),
        other => other,
    }
}

/// Whether an answer to AUTH is about the login, not about the server's state.
fn is_verdict(error: &RedisError) -> bool {
    let is_full = || error.to_string().contains("max number of clients");
    matches!(error.code(), Some("WRONGPASS" | "ERR" | "NOPERM")) && !is_full()
}

/// Waits for a server's first words, and says what its refusal means for the user.
pub(super) async fn told<T>(
    target: &Target,
    patience: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<T, ConnectError> {
    match tokio::time::timeout(patience, work).await {
        Ok(said) => said.map_err(|error| explain(&target.name, &error)),
        Err(_) => Err(ConnectError::Unreachable {
            place: target.name.clone(),
            reason: format!("no answer within {} s", patience.as_secs()),
        }),
    }
}

fn explain(place: &str, error: &RedisError) -> ConnectError {
    let place = place.to_owned();
    if error.code() == Some("NOAUTH") {
        let reason = format!("it wants a password, and none is given: set {REMEDY}");
        return ConnectError::Refused { place, reason };
    }
    if error.kind() == ErrorKind::AuthenticationFailed {
        let reason = format!("the user or the password is wrong: correct {REMEDY}");
        return ConnectError::Refused { place, reason };
    }
    let reason = error.to_string();
    if error.code() == Some("NOPERM") {
        return ConnectError::Refused { place, reason };
    }
    ConnectError::Unreachable { place, reason }
}
