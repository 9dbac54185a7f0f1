//! From a URL to a client.

use std::{sync::Arc, time::Duration};

use carafe_types::Secret;
use redis::Script;

use super::{
    Redis,
    dial::{REMEDY, dial, told},
    target::{Target, parse},
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
    let mut target = parse(url, password)?;
    target.sentinel_login.password = options.sentinel_password;
    if target.prefix().is_empty() && is_cluster(&target, options.timeout).await? {
        target = target.into_cluster();
    }
    let connection = dial(&target, options.timeout).await?;
    Ok(Redis {
        wire: Wire {
            prefix: target.prefix(),
            line: Line::new(target, connection, options.timeout),
        },
        guesses: Guesses::with_room(ROOM),
        write: Script::new(include_str!("write.lua")),
        lookup: Script::new(include_str!("lookup.lua")),
    })
}

/// Whether the one server that was named is a cluster's node: then its number stands in
/// the keys, and it has no such database.
async fn is_cluster(target: &Target, patience: Duration) -> Result<bool, ConnectError> {
    let mut first = target.clone();
    first.database = 0;
    let mut connection = dial(&first, patience).await?;
    let mut ask = redis::cmd("INFO");
    let asking = ask.arg("cluster").query_async(&mut connection);
    let said: String = told(&target.name, REMEDY, patience, asking).await?;
    Ok(said.contains("cluster_enabled:1"))
}
