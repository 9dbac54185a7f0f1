//! TiKV as a store (feature `tikv`): snapshots at a timestamp, and optimistic
//! transactions.
//!
//! TiKV names no revision of a single value, so a commit reads what is guarded again, at
//! its own timestamp, and compares the values; then it locks the guarded keys, and TiKV
//! refuses it if one of them changed since. A guarded range locks its start as well, so
//! that of two that guard and fill one range, one waits for the other.

mod target;

use std::{collections::HashMap, future::Future, ops::Range, sync::Arc};

use bytes::Bytes;
use carafe_types::{Error, Result, Secret};
use tikv_client::{
    CheckLevel, KvPair, Snapshot, Timestamp, TimestampExt, Transaction as TikvTransaction,
    TransactionClient, TransactionOptions,
};

use self::target::{Target, parse};
use super::{
    Kv,
    store::{Commit, Found, Guard, Key, Limits, Pair, Query, Revision, Seen, Store, Transaction},
};
use crate::{
    Admin, ConnectError, ConnectOptions, RenewError, client::Client, engine::Terms, retry::Failure,
};

/// What its URLs begin with.
pub(crate) const SCHEME: &str = "tikv";
/// TiKV takes more; a transaction of this size is quick.
const LIMITS: Limits = Limits {
    operations: 4096,
    bytes: 4 << 20,
    remedy: "make the change in smaller steps",
};
/// A value that is known; any number but 0 would do, since values are compared.
const KNOWN: u64 = 1;
/// A key that is known to be there, without its value.
const THERE: u64 = 2;

/// A cluster, and the keys' prefix in it.
pub(crate) struct Tikv {
    client: TransactionClient,
    target: Target,
}

/// A client of the TiKV that `url` names.
pub(crate) async fn connect(
    url: &str,
    options: ConnectOptions,
) -> Result<Arc<dyn Admin>, ConnectError> {
    let target = parse(url)?;
    let unreachable = |reason: String| ConnectError::Unreachable {
        place: target.name.clone(),
        reason,
    };
    let connecting =
        TransactionClient::new_with_config(target.members.clone(), target.config(options.timeout));
    let Ok(connected) = tokio::time::timeout(options.timeout, connecting).await else {
        let patience = options.timeout.as_secs();
        return Err(unreachable(format!("no answer within {patience} s")));
    };
    let client = connected.map_err(|error| unreachable(error.to_string()))?;
    Ok(Arc::new(Client::new(Kv::new(Tikv { client, target }))))
}

impl Tikv {
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.target.prefix, key].concat()
    }

    fn range(&self, range: &Range<Key>) -> Range<Vec<u8>> {
        self.key(&range.start)..self.key(&range.end)
    }

    fn bare(&self, key: &[u8]) -> Key {
        key.get(self.target.prefix.len()..)
            .unwrap_or_default()
            .to_vec()
    }

    async fn newest(&self) -> tikv_client::Result<Revision> {
        Ok(Revision(self.client.current_timestamp().await?.version()))
    }

    async fn answer_all(
        &self,
        at: Option<Revision>,
        queries: &[Query],
    ) -> tikv_client::Result<(Revision, Vec<Found>)> {
        let at = match at {
            Some(at) => at,
            None => self.newest().await?,
        };
        let options = TransactionOptions::new_optimistic()
            .read_only()
            .drop_check(CheckLevel::None);
        let mut snapshot = self.client.snapshot(Timestamp::from_version(at.0), options);
        let keys = queries.iter().filter_map(|query| match query {
            Query::Get(key) => Some(self.key(key)),
            Query::Scan { .. } => None,
        });
        let values = values_of(snapshot.batch_get(keys.collect::<Vec<_>>()).await?);
        let mut all = Vec::with_capacity(queries.len());
        for query in queries {
            all.push(match query {
                Query::Get(key) => Found::One(known(values.get(&self.key(key)).cloned())),
                Query::Scan {
                    range,
                    limit,
                    keys_only,
                } => self.scan(&mut snapshot, range, *limit, *keys_only).await?,
            });
        }
        Ok((at, all))
    }

    async fn scan(
        &self,
        snapshot: &mut Snapshot,
        range: &Range<Key>,
        limit: usize,
        keys_only: bool,
    ) -> tikv_client::Result<Found> {
        // One more tells whether there are more.
        let most = limit as u32 + 1;
        let mut pairs: Vec<Pair> = if keys_only {
            let keys = snapshot.scan_keys(self.range(range), most).await?;
            keys.map(|key| (self.bare(&Vec::from(key)), there()))
                .collect()
        } else {
            let found = snapshot.scan(self.range(range), most).await?;
            let pair = |KvPair(key, value)| (self.bare(&Vec::from(key)), known(Some(value)));
            found.map(pair).collect()
        };
        let more = pairs.len() > limit;
        pairs.truncate(limit);
        Ok(Found::Page(pairs, more))
    }

    async fn try_commit(&self, transaction: &Transaction) -> Result<Commit, Attempt> {
        let options = TransactionOptions::new_optimistic().drop_check(CheckLevel::None);
        let mut open = self
            .client
            .begin_with_options(options)
            .await
            .map_err(Attempt::Read)?;
        match self.changed(&mut open, &transaction.guards).await {
            Ok(None) => {}
            Ok(Some(pairs)) => {
                let at = Revision(open.start_timestamp().version());
                // It wrote nothing: what remains of it ends with it.
                let _ = open.rollback().await;
                return Ok(Commit::Conflict(at, pairs));
            }
            Err(error) => {
                let _ = open.rollback().await;
                return Err(Attempt::Read(error));
            }
        }
        self.write(&mut open, transaction)
            .await
            .map_err(Attempt::Read)?;
        open.commit().await.map_err(Attempt::Write)?;
        Ok(Commit::Done(KNOWN))
    }

    async fn write(
        &self,
        open: &mut TikvTransaction,
        transaction: &Transaction,
    ) -> tikv_client::Result<()> {
        let starts = transaction.guards.iter().map(|guard| match guard {
            Guard::Same(key, _) => self.key(key),
            Guard::Range { range, .. } => self.key(&range.start),
        });
        open.lock_keys(starts.collect::<Vec<_>>()).await?;
        for (key, value) in &transaction.writes {
            match value {
                Some(value) => open.put(self.key(key), value.to_vec()).await?,
                None => open.delete(self.key(key)).await?,
            }
        }
        Ok(())
    }

    /// Reads what is guarded; if some of it is not as it was, the guarded keys.
    async fn changed(
        &self,
        open: &mut TikvTransaction,
        guards: &[Guard],
    ) -> tikv_client::Result<Option<Vec<Pair>>> {
        let keys = guards
            .iter()
            .filter_map(Guard::key)
            .map(|key| self.key(&key));
        let mut values = values_of(open.batch_get(keys.collect::<Vec<_>>()).await?);
        let (mut held, mut pairs) = (true, Vec::new());
        for guard in guards {
            match guard {
                Guard::Same(key, seen) => {
                    let now = known(values.remove(&self.key(key)));
                    held &= is_same(seen, &now);
                    pairs.push((key.clone(), now));
                }
                Guard::Range { range, pairs, .. } => {
                    let most = pairs.len() as u32 + 1;
                    let found = open.scan(self.range(range), most).await?;
                    let now: Vec<Pair> = found
                        .map(|KvPair(key, value)| (self.bare(&Vec::from(key)), known(Some(value))))
                        .collect();
                    let one = |((key, seen), (now_key, now)): (&Pair, &Pair)| {
                        key == now_key && is_same(seen, now)
                    };
                    held &= pairs.len() == now.len() && pairs.iter().zip(&now).all(one);
                }
            }
        }
        Ok((!held).then_some(pairs))
    }

    async fn within<T>(
        &self,
        terms: Terms,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout_at(terms.deadline.into(), work).await {
            Ok(done) => done,
            Err(_) => Err(Failure::Final(Terms::timed_out("tikv did not answer"))),
        }
    }
}

/// Where a commit ended.
enum Attempt {
    /// Before it wrote.
    Read(tikv_client::Error),
    /// As it wrote: it may be done.
    Write(tikv_client::Error),
}

fn values_of(pairs: impl Iterator<Item = KvPair>) -> HashMap<Vec<u8>, Vec<u8>> {
    pairs
        .map(|KvPair(key, value)| (Vec::from(key), value))
        .collect()
}

fn known(value: Option<Vec<u8>>) -> Seen {
    Seen {
        version: value.as_ref().map_or(0, |_| KNOWN),
        value: value.map(Bytes::from),
    }
}

fn there() -> Seen {
    Seen {
        value: Some(Bytes::new()),
        version: THERE,
    }
}

fn is_same(seen: &Seen, now: &Seen) -> bool {
    if seen.version == THERE {
        now.value.is_some()
    } else {
        seen.value == now.value
    }
}

/// Whether somebody else was first, wherever that stands in an error.
fn is_conflict(error: &tikv_client::Error) -> bool {
    match error {
        tikv_client::Error::KeyError(key) => key.conflict.is_some(),
        tikv_client::Error::MultipleKeyErrors(all) | tikv_client::Error::ExtractedErrors(all) => {
            all.iter().any(is_conflict)
        }
        _ => false,
    }
}

fn lost(error: &tikv_client::Error) -> Failure {
    Failure::Lost(format!("tikv: {error}"))
}

impl Store for Tikv {
    fn name(&self) -> String {
        self.target.name.clone()
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    async fn look(
        &self,
        terms: Terms,
        at: Option<Revision>,
        queries: &[Query],
    ) -> Result<(Revision, Vec<Found>), Failure> {
        let look = async {
            self.answer_all(at, queries)
                .await
                .map_err(|error| lost(&error))
        };
        self.within(terms, look).await
    }

    async fn commit(&self, terms: Terms, transaction: &Transaction) -> Result<Commit, Failure> {
        let commit = async {
            match self.try_commit(transaction).await {
                Ok(done) => Ok(done),
                Err(Attempt::Write(error)) if is_conflict(&error) => {
                    let now = self.newest().await.map_err(|error| lost(&error))?;
                    Ok(Commit::Conflict(now, Vec::new()))
                }
                Err(Attempt::Read(error) | Attempt::Write(error)) => Err(lost(&error)),
            }
        };
        self.within(terms, commit).await
    }

    /// TiKV knows certificates and no logins; they are read anew at each connection.
    async fn renew_login(&self, url: &str, _password: Option<&Secret>) -> Result<(), RenewError> {
        let elsewhere = |named: String| RenewError::Elsewhere {
            place: self.target.name.clone(),
            named,
        };
        let (scheme, _) = url.split_once("://").unwrap_or_default();
        if scheme != SCHEME {
            return Err(elsewhere(format!("{scheme}://")));
        }
        let target = parse(url).map_err(RenewError::Unusable)?;
        if target.name == self.target.name {
            Ok(())
        } else {
            Err(elsewhere(target.name))
        }
    }

    async fn preflight(&self, _terms: Terms) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_and_keys_without_values_by_their_presence() {
        let value = |text: &str| known(Some(text.into()));
        assert!(is_same(&value("a"), &value("a")) && !is_same(&value("a"), &value("b")));
        assert!(is_same(&there(), &value("any")) && !is_same(&there(), &known(None)));
        assert!(is_same(&known(None), &known(None)) && !is_same(&known(None), &value("")));
    }
}
