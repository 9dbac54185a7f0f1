//! From a URL to a client.

use std::sync::Arc;

use carafe_types::Secret;
use redis::{RedisResult, Script, aio::MultiplexedConnection};

use super::{
    Redis,
    dial::{dial, told},
    target::parse,
    wire::Wire,
};
use crate::{Admin, ConnectError, ConnectOptions, client::Client, guesses::Guesses, line::Line};

/// Guesses of one generation: those of the entries of a big directory, and some 8 MB at
/// most.
const ROOM: usize = 16_384;

/// A client of the Redis that `url` names.
pub(crate) async fn connect(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Arc<dyn Admin>, ConnectError> {
    let engine = open(url, password, options).await?;
    Ok(Arc::new(Client::new(engine)))
}

/// Opens the Redis that `url` names.
pub(crate) async fn open(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Redis, ConnectError> {
    let target = parse(url, password)?;
    let mut connection = dial(&target, options.timeout).await?;
    let server = told(&target, options.timeout, about(&mut connection)).await?;
    if server.contains("cluster_enabled:1") {
        return Err(ConnectError::BadUrl(
            "this build does not speak to a Redis Cluster: use a single server".into(),
        ));
    }
    Ok(Redis {
        wire: Wire {
            line: Line::new(target, connection, options.timeout),
        },
        guesses: Guesses::with_room(ROOM),
        write: Script::new(include_str!("write.lua")),
        lookup: Script::new(include_str!("lookup.lua")),
    })
}

async fn about(connection: &mut MultiplexedConnection) -> RedisResult<String> {
    redis::cmd("INFO")
        .arg("cluster")
        .query_async(connection)
        .await
}
