//! A store in memory, which loses answers and sees others write as a test asks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use carafe_types::{Result, Secret};
use parking_lot::Mutex;

use super::store::{
    Commit, Found, Guard, Key, Limits, Pair, Query, Revision, Seen, Store, Transaction,
};
use crate::{RenewError, engine::Terms, retry::Failure};

/// All of it: what tests of one store share.
#[derive(Clone, Default)]
pub(super) struct Memory {
    inner: Arc<Mutex<Inner>>,
    /// Commits whose answers are lost: done, and not done.
    pub(super) lose_done: Arc<AtomicUsize>,
    pub(super) lose_undone: Arc<AtomicUsize>,
    /// Trips so far: looks and commits.
    pub(super) trips: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Inner {
    revision: u64,
    keys: BTreeMap<Key, Seen>,
}

impl Memory {
    /// All keys and values.
    pub(super) fn dump(&self) -> BTreeMap<Key, Bytes> {
        let inner = self.inner.lock();
        let pair = |(key, seen): (&Key, &Seen)| Some((key.clone(), seen.value.clone()?));
        inner.keys.iter().filter_map(pair).collect()
    }

    /// Another client changes something: what was read before is a past state.
    pub(super) fn touch(&self) {
        self.inner.lock().revision += 1;
    }

    fn lost(counter: &AtomicUsize) -> bool {
        let one_less = |count: usize| count.checked_sub(1);
        counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .is_ok()
    }
}

impl Inner {
    fn answer(&self, query: &Query) -> Found {
        match query {
            Query::Get(key) => Found::One(self.keys.get(key).cloned().unwrap_or_default()),
            Query::Scan {
                range,
                limit,
                keys_only,
            } => {
                let mut all = self.keys.range(range.clone());
                let hide = |(key, seen): (&Key, &Seen)| {
                    let value = seen
                        .value
                        .clone()
                        .map(|value| if *keys_only { Bytes::new() } else { value });
                    (
                        key.clone(),
                        Seen {
                            value,
                            version: seen.version,
                        },
                    )
                };
                let pairs: Vec<Pair> = all.by_ref().take(*limit).map(hide).collect();
                Found::Page(pairs, all.next().is_some())
            }
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        let version = |key: &Key| self.keys.get(key).map_or(0, |seen| seen.version);
        match guard {
            Guard::Same(key, seen) => version(key) == seen.version,
            Guard::Range { range, pairs, .. } => {
                pairs.iter().all(|(key, seen)| version(key) == seen.version)
                    && self.keys.range(range.clone()).count() == pairs.len()
            }
        }
    }

    fn commit(&mut self, transaction: &Transaction) -> Commit {
        if !transaction.guards.iter().all(|guard| self.holds(guard)) {
            let same = |guard: &Guard| match guard {
                Guard::Same(key, _) => {
                    Some((key.clone(), self.keys.get(key).cloned().unwrap_or_default()))
                }
                Guard::Range { .. } => None,
            };
            let pairs = transaction.guards.iter().filter_map(same).collect();
            return Commit::Conflict(Revision(self.revision), pairs);
        }
        self.revision += 1;
        let version = self.revision;
        for (key, value) in &transaction.writes {
            if value.is_some() {
                let value = value.clone();
                self.keys.insert(key.clone(), Seen { value, version });
            } else {
                self.keys.remove(key);
            }
        }
        Commit::Done(version)
    }
}

impl Store for Memory {
    fn name(&self) -> String {
        "memkv://".into()
    }

    fn limits(&self) -> Limits {
        Limits {
            operations: 128,
            bytes: 1 << 20,
            remedy: "nothing",
        }
    }

    async fn look(
        &self,
        _terms: Terms,
        at: Option<Revision>,
        queries: &[Query],
    ) -> Result<(Revision, Vec<Found>), Failure> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        let inner = self.inner.lock();
        let now = Revision(inner.revision);
        // Only the newest state is kept.
        if at.is_some_and(|at| at != now) {
            return Err(Failure::Lost("the revision is gone".into()));
        }
        Ok((
            now,
            queries.iter().map(|query| inner.answer(query)).collect(),
        ))
    }

    async fn commit(&self, _terms: Terms, transaction: &Transaction) -> Result<Commit, Failure> {
        assert!(transaction.fits(self.limits()), "{transaction:?}");
        self.trips.fetch_add(1, Ordering::Relaxed);
        if Self::lost(&self.lose_undone) {
            return Err(Failure::Lost("the request was lost".into()));
        }
        let done = self.inner.lock().commit(transaction);
        if Self::lost(&self.lose_done) {
            return Err(Failure::Lost("the answer was lost".into()));
        }
        Ok(done)
    }

    async fn renew_login(&self, _url: &str, _password: Option<&Secret>) -> Result<(), RenewError> {
        Ok(())
    }

    async fn preflight(&self, _terms: Terms) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
