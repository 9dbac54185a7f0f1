//! Logging in, and what a server's refusal means for the user.

use std::time::Duration;

use carafe_types::Secret;
use redis::{ErrorKind, RedisError, RedisResult, aio::MultiplexedConnection};

use crate::ConnectError;

/// What to do about a login that is missing or wrong.
pub(super) const REMEDY: &str =
    "META_PASSWORD, or the password in metaurl (redis://:password@host)";

/// As whom. Without a password, nobody logs in.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

pub(super) async fn log_in(
    connection: &mut MultiplexedConnection,
    login: &Login,
) -> RedisResult<()> {
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
///
/// `remedy` names where its password is given.
pub(super) async fn told<T>(
    place: &str,
    remedy: &str,
    patience: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<T, ConnectError> {
    match tokio::time::timeout(patience, work).await {
        Ok(said) => said.map_err(|error| explain(place, remedy, &error)),
        Err(_) => Err(ConnectError::Unreachable {
            place: place.to_owned(),
            reason: format!("no answer within {} s", patience.as_secs()),
        }),
    }
}

fn explain(place: &str, remedy: &str, error: &RedisError) -> ConnectError {
    let place = place.to_owned();
    if error.code() == Some("NOAUTH") {
        let reason = format!("it wants a password, and none is given: set {remedy}");
        return ConnectError::Refused { place, reason };
    }
    if error.kind() == ErrorKind::AuthenticationFailed {
        let reason = format!("the user or the password is wrong: correct {remedy}");
        return ConnectError::Refused { place, reason };
    }
    let reason = error.to_string();
    if error.code() == Some("NOPERM") {
        return ConnectError::Refused { place, reason };
    }
    ConnectError::Unreachable { place, reason }
}
