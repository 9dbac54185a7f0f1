//! One new connection, and what a server's refusal means for the user.

use std::time::Duration;

use redis::{
    ConnectionAddr, ErrorKind, RedisError, RedisResult, Value, aio::MultiplexedConnection,
};

use super::{
    hosts::Hosts,
    locate::locate,
    target::{Login, Place, Target},
};
use crate::{ConnectError, line};

/// What to do about a login that is missing or wrong.
pub(super) const REMEDY: &str =
    "META_PASSWORD, or the password in metaurl (redis://:password@host)";

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
    let address = match &target.place {
        Place::Socket(path) => ConnectionAddr::Unix(path.clone()),
        Place::Hosts(hosts) => {
            let host = Box::pin(locate(target, hosts, patience)).await?;
            target.address(&host)
        }
    };
    let connecting = async {
        let mut connection = target.open(address, &target.login, patience).await?;
        settle(&mut connection, target).await?;
        Ok(connection)
    };
    told(&target.name, REMEDY, patience, connecting).await
}

/// Makes sure of the server, and selects the database. Asks something in any case: a
/// server that wants a password says so now.
pub(super) async fn settle(
    connection: &mut MultiplexedConnection,
    target: &Target,
) -> RedisResult<()> {
    match &target.place {
        // The sentinels may be slower than a fail-over.
        Place::Hosts(Hosts::Sentinel { .. }) => must_be_master(connection).await?,
        // A cluster has no other database than 0: the number is in the keys.
        Place::Hosts(Hosts::Cluster(_)) => {
            return redis::cmd("PING").exec_async(connection).await;
        }
        _ => {}
    }
    match target.database {
        0 => redis::cmd("PING").exec_async(connection).await,
        number => {
            redis::cmd("SELECT")
                .arg(number)
                .exec_async(connection)
                .await
        }
    }
}

async fn must_be_master(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let role: Value = match redis::cmd("ROLE").query_async(connection).await {
        // A user who may not ask; a replica refuses the first write.
        Err(error) if error.code() == Some("NOPERM") => return Ok(()),
        role => role?,
    };
    match role {
        Value::Array(parts) if parts.first() == Some(&Value::BulkString(b"slave".into())) => {
            Err(RedisError::from((
                ErrorKind::Io,
                "the sentinels still name a server that is a replica now",
            )))
        }
        _ => Ok(()),
    }
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
