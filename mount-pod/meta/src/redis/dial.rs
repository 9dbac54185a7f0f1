//! One new connection.

use std::time::Duration;

use redis::{
    ConnectionAddr, ErrorKind, RedisError, RedisResult, Value, aio::MultiplexedConnection,
};

use super::{
    hosts::Hosts,
    locate::locate,
    login::{REMEDY, told},
    target::{Place, Target},
};
use crate::{ConnectError, line};

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
