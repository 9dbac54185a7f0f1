//! What the KV layout needs of a store: ordered keys, reads at one revision, and a
//! commit that fails if what was read has changed.
//!
//! A **revision** is a state of the whole store; a key's **version** tells one of its
//! values from any other; a **guard** is what must still hold when a transaction commits.
//! Keys here are without the volume's prefix, which the store adds.

use std::ops::Range;

use bytes::Bytes;
use carafe_types::{Result, Secret};

use crate::{RenewError, engine::Terms, retry::Failure};

/// A key behind the volume's prefix.
pub(crate) type Key = Vec<u8>;

/// A state of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision(pub(crate) u64);

/// What lay at a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `None`: nothing.
    pub(crate) value: Option<Bytes>,
    /// 0 for nothing.
    pub(crate) version: u64,
}

/// A key with what lay there.
pub(crate) type Pair = (Key, Seen);

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// What lies at a key.
    Get(Key),
    /// The first keys of a range, in order.
    Scan {
        /// From the first one to before the second one.
        range: Range<Key>,
        /// At most so many.
        limit: usize,
        /// Values stay empty.
        keys_only: bool,
    },
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// To [`Query::Get`].
    One(Seen),
    /// To [`Query::Scan`], and whether the range holds more.
    Page(Vec<Pair>, bool),
}

/// What must hold for a transaction to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A key is as it was.
    Same(Key, Seen),
    /// A range holds these keys as they were, and nothing that came after `at`.
    Range {
        /// The range.
        range: Range<Key>,
        /// All that it held.
        pairs: Vec<Pair>,
        /// When it was read.
        at: Revision,
    },
}

/// A change of one key: `None` removes it.
pub(crate) type Write = (Key, Option<Bytes>);

/// What is applied together, or not at all. No key is written twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transaction {
    /// What must still hold.
    pub(crate) guards: Vec<Guard>,
    /// What changes then.
    pub(crate) writes: Vec<Write>,
}

/// How a commit went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It is done; what was written has this version.
    Done(u64),
    /// A guard did not hold, and nothing changed: some of the guarded keys, as they
    /// are at this revision.
    Conflict(Revision, Vec<Pair>),
}

/// What one transaction may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Guards, and as many writes.
    pub(crate) operations: usize,
    /// Bytes of keys and values.
    pub(crate) bytes: usize,
    /// What to raise for more, for people.
    pub(crate) remedy: &'static str,
}

/// A key-value store.
pub(crate) trait Store: Send + Sync + Sized + 'static {
    /// The store's name and place without secrets.
    fn name(&self) -> String;

    /// What one transaction may hold.
    fn limits(&self) -> Limits;

    /// Answers all questions from one state of the store: the one `at`, or the newest
    /// one. A state that is no longer kept is [`Failure::Lost`].
    fn look(
        &self,
        terms: Terms,
        at: Option<Revision>,
        queries: &[Query],
    ) -> impl Future<Output = Result<(Revision, Vec<Found>), Failure>> + Send;

    /// Applies a transaction. After [`Failure::Lost`] it may or may not be applied.
    fn commit(
        &self,
        terms: Terms,
        transaction: &Transaction,
    ) -> impl Future<Output = Result<Commit, Failure>> + Send;

    /// See [`crate::Meta::renew_login`].
    fn renew_login(
        &self,
        url: &str,
        password: Option<&Secret>,
    ) -> impl Future<Output = Result<(), RenewError>> + Send;

    /// What the store promises less than a user would expect.
    fn preflight(&self, terms: Terms) -> impl Future<Output = Result<Vec<String>>> + Send;
}

impl Guard {
    /// The key that is guarded alone.
    pub(crate) fn key(&self) -> Option<Key> {
        match self {
            Self::Same(key, _) => Some(key.clone()),
            Self::Range { .. } => None,
        }
    }

    /// How many comparisons it is.
    pub(crate) fn operations(&self) -> usize {
        match self {
            Self::Same(..) => 1,
            Self::Range { pairs, .. } => 1 + pairs.len(),
        }
    }
}

impl Transaction {
    /// Whether a store with these limits takes it.
    pub(crate) fn fits(&self, limits: Limits) -> bool {
        let guards: usize = self.guards.iter().map(Guard::operations).sum();
        guards.max(self.writes.len()) <= limits.operations && self.bytes() <= limits.bytes
    }

    /// The bytes of its keys and values.
    pub(crate) fn bytes(&self) -> usize {
        // What frames a key in a request.
        const FRAME: usize = 32;
        let value = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let writes = self.writes.iter();
        let written: usize = writes
            .map(|(key, new)| FRAME + key.len() + value(new))
            .sum();
        // A guarded key is named twice: to compare it, and to read it if it differs.
        let guarded = |guard: &Guard| match guard {
            Guard::Same(key, _) => 2 * (FRAME + key.len()),
            Guard::Range { range, pairs, .. } => {
                let keys: usize = pairs.iter().map(|(key, _)| FRAME + key.len()).sum();
                FRAME + range.start.len() + range.end.len() + keys
            }
        };
        written + self.guards.iter().map(guarded).sum::<usize>()
    }
}
