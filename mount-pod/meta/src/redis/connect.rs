//! From a URL to a client.

use std::{sync::Arc, time::Duration};

use carafe_types::Secret;
use redis::{Script, aio::MultiplexedConnection};

use super::{
    Redis,
    dial::{dial, settle},
    login::{REMEDY, told},
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
    // Boxed: what connects is rarely needed, and would make each caller's future large.
    let connection = Box::pin(first_connection(&mut target, options.timeout)).await?;
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

/// A connection to where the volume is. The one server that was named may turn out to be
/// a cluster's node: then the database's number stands in the keys, and no such database
/// can be selected.
async fn first_connection(
    target: &mut Target,
    patience: Duration,
) -> Result<MultiplexedConnection, ConnectError> {
    let mut first = target.clone();
    first.database = 0;
    let mut connection = dial(&first, patience).await?;
    let mut ask = redis::cmd("INFO");
    let asking = ask.arg("cluster").query_async(&mut connection);
    let said: String = told(&target.name, REMEDY, patience, asking).await?;
    if said.contains("cluster_enabled:1") && target.prefix().is_empty() {
        *target = target.clone().into_cluster()?;
        return dial(target, patience).await;
    }
    let settling = settle(&mut connection, target);
    told(&target.name, REMEDY, patience, settling).await?;
    Ok(connection)
}
