//! Finding the server of the hour: sentinels know the master that they watch, the nodes
//! of a cluster know who has the volume's slot.
//!
//! Asked anew for each connection, so that a fail-over needs nothing else than a lost
//! connection.

use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult, Value, aio::MultiplexedConnection};

use super::{
    hosts::{Host, Hosts},
    login::{Login, REMEDY, told},
    target::Target,
};
use crate::ConnectError;

/// What to do about a login that the sentinels refuse.
const SENTINEL_REMEDY: &str = "SENTINEL_PASSWORD";

/// The server that the volume is on now.
pub(super) async fn locate(
    target: &Target,
    hosts: &Hosts,
    patience: Duration,
) -> Result<Host, ConnectError> {
    match hosts {
        Hosts::One(host) => Ok(host.clone()),
        Hosts::Sentinel { master, sentinels } => {
            let asked = |connection| master_of(connection, master);
            let login = (&target.sentinel_login, SENTINEL_REMEDY);
            any(target, sentinels, login, patience, asked).await
        }
        Hosts::Cluster(nodes) => {
            let prefix = target.prefix();
            let asked = |connection| owner_of(connection, &prefix);
            any(target, nodes, (&target.login, REMEDY), patience, asked).await
        }
    }
}

/// What the first of `hosts` says that can say it. An address that it leaves out is its
/// own.
async fn any<F>(
    target: &Target,
    hosts: &[Host],
    (login, remedy): (&Login, &str),
    patience: Duration,
    ask: impl Fn(MultiplexedConnection) -> F,
) -> Result<Host, ConnectError>
where
    F: Future<Output = RedisResult<(String, u16)>>,
{
    let patience = patience / hosts.len().max(1) as u32;
    let mut failed = None;
    for host in hosts {
        let asking = async {
            let connection = target.open(target.address(host), login, patience).await?;
            ask(connection).await
        };
        match told(&target.name, remedy, patience, asking).await {
            Ok((name, port)) if name.is_empty() => {
                let name = host.name.clone();
                return Ok(Host { name, port });
            }
            Ok((name, port)) => return Ok(Host { name, port }),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| ConnectError::BadUrl("it names no host".into())))
}

/// What a sentinel says of a master.
async fn master_of(
    mut sentinel: MultiplexedConnection,
    master: &str,
) -> RedisResult<(String, u16)> {
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("get-master-addr-by-name").arg(master);
    let address: Option<(String, u16)> = ask.query_async(&mut sentinel).await?;
    address.ok_or_else(|| {
        RedisError::from((
            ErrorKind::InvalidClientConfig,
            "the sentinel watches no master of this name",
            master.to_owned(),
        ))
    })
}

/// Who has the slot of the keys that begin so, as a node of the cluster says.
async fn owner_of(mut node: MultiplexedConnection, prefix: &[u8]) -> RedisResult<(String, u16)> {
    let mut ask = redis::cmd("CLUSTER");
    ask.arg("KEYSLOT").arg(prefix);
    let slot: i64 = ask.query_async(&mut node).await?;
    let slots: Value = redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut node)
        .await?;
    owner(slots, slot).ok_or_else(|| {
        RedisError::from((
            ErrorKind::Io,
            "no node of the cluster has the volume's slot now",
        ))
    })
}

/// Of ranges of slots (first, last, master, replicas …), the master of the one that
/// has `slot`.
fn owner(slots: Value, slot: i64) -> Option<(String, u16)> {
    let parts = |value: Value| match value {
        Value::Array(parts) => Some(parts),
        _ => None,
    };
    parts(slots)?.into_iter().find_map(|range| {
        let mut range = parts(range)?.into_iter();
        let (Value::Int(first), Value::Int(last)) = (range.next()?, range.next()?) else {
            return None;
        };
        if !(first..=last).contains(&slot) {
            return None;
        }
        let mut master = parts(range.next()?)?.into_iter();
        let name = match master.next()? {
            Value::BulkString(name) => String::from_utf8(name).ok()?,
            // The node does not know by which name it is reached: by the one just used.
            _ => String::new(),
        };
        let Value::Int(port) = master.next()? else {
            return None;
        };
        Some((name, u16::try_from(port).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, master: Value, port: i64) -> Value {
        let node = Value::Array(vec![master, Value::Int(port)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node])
    }

    #[test]
    fn the_owner_of_a_slot_is_the_master_of_its_range() {
        let name = |text: &str| Value::BulkString(text.into());
        let slots = Value::Array(vec![
            range(0, 99, name("one"), 1),
            range(100, 200, Value::Nil, 2),
        ]);
        assert_eq!(owner(slots.clone(), 99), Some(("one".into(), 1)));
        assert_eq!(owner(slots.clone(), 100), Some((String::new(), 2)));
        assert_eq!(owner(slots, 201), None);
    }
}
