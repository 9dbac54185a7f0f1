//! What the client needs of a database.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_types::{Acl, Attr, Error, FileType, Ino, Result, Secret, SessionId, SliceId};

use crate::{
    ChunkRecord, OpKey, RenewError, SessionRecord, VolumeRecord,
    ops::{Counter, DelayedKey, Mutation, Plan, Planned, Read, Reads},
    record::Recorded,
};

/// A plan, ready to run as often as it takes.
pub(crate) type PlanFn<T> = Arc<dyn Fn(&dyn Reads) -> Plan<T> + Send + Sync>;

/// A look at the database, ready to run as often as it takes.
pub(crate) type ReadFn<T> = Arc<dyn Fn(&dyn Reads) -> Read<T> + Send + Sync>;

/// How a plan is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// After this it answers `TimedOut`.
    pub(crate) deadline: Instant,
    /// Makes it take effect once.
    pub(crate) key: Option<OpKey>,
}

/// An entry as a scan finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawEntry {
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// Its inode.
    pub(crate) ino: Ino,
    /// Its type.
    pub(crate) kind: FileType,
}

/// Slices that compaction replaced, waiting for the trash's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delayed {
    /// Its place on record.
    pub(crate) key: DelayedKey,
    /// The slices: id and size.
    pub(crate) slices: Vec<(SliceId, u32)>,
}

/// A deleted file whose data is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// The file.
    pub(crate) ino: Ino,
    /// Its length.
    pub(crate) length: u64,
}

/// A database that holds a volume's metadata. Engines know the layout and nothing
/// of what operations mean; see [`crate::ops`].
pub(crate) trait Engine: Send + Sync + Sized + 'static {
    /// The engine's name and place without secrets.
    fn name(&self) -> String;

    /// See [`crate::Meta::renew_login`].
    fn renew_login(
        &self,
        url: &str,
        password: Option<&Secret>,
    ) -> impl Future<Output = Result<(), RenewError>> + Send;

    /// Makes what the engine needs before a first plan (tables).
    fn prepare(&self, terms: Terms) -> impl Future<Output = Result<()>> + Send;

    /// Runs a plan and applies its mutations, all or nothing; answers what was
    /// planned, or, if the operation's record is there, its answer and no mutations.
    fn transact<T: Recorded>(
        &self,
        terms: Terms,
        plan: PlanFn<T>,
    ) -> impl Future<Output = Result<Planned<T>>> + Send;

    /// Looks.
    fn read<T: Send + 'static>(
        &self,
        terms: Terms,
        look: ReadFn<T>,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Takes `count` ids that nobody else gets.
    fn take_ids(
        &self,
        terms: Terms,
        counter: Counter,
        count: u64,
    ) -> impl Future<Output = Result<Range<u64>>> + Send;

    /// Shows every entry of a directory once or more, in any order.
    fn scan_dir(
        &self,
        terms: Terms,
        dir: Ino,
        visit: &mut (dyn FnMut(RawEntry) + Send),
    ) -> impl Future<Output = Result<()>> + Send;

    /// The attributes of many inodes, in order.
    fn nodes(
        &self,
        terms: Terms,
        inos: &[Ino],
    ) -> impl Future<Output = Result<Vec<Option<Attr>>>> + Send;

    /// These entries of a directory and the inodes that they name were just read: what
    /// is done to them next may start from that.
    fn saw_entries(&self, _dir: Ino, _entries: &mut dyn Iterator<Item = &RawEntry>) {}

    /// Gives back what was not used of late; called at each heartbeat.
    fn rest(&self) {}

    /// The indexes of a file's chunks; `length` bounds where an engine must try.
    fn chunks(
        &self,
        terms: Terms,
        ino: Ino,
        length: u64,
    ) -> impl Future<Output = Result<Vec<u32>>> + Send;

    /// Shows every chunk's list once or more, in any order: each that is there from the
    /// start to the end of the scan. An engine that can read one state of the database
    /// for that long does; elsewhere a slice that moves meanwhile may be missed.
    /// `patience` is for one step of it.
    fn scan_chunks(
        &self,
        patience: Duration,
        visit: &mut (dyn FnMut(ChunkRecord) + Send),
    ) -> impl Future<Output = Result<()>> + Send;

    /// All sessions.
    fn sessions(&self, terms: Terms) -> impl Future<Output = Result<Vec<SessionRecord>>> + Send;

    /// The nameless inodes that a session keeps.
    fn sustained(
        &self,
        terms: Terms,
        session: SessionId,
    ) -> impl Future<Output = Result<Vec<Ino>>> + Send;

    /// The directories that have a quota.
    fn quotas(&self, terms: Terms) -> impl Future<Output = Result<Vec<Ino>>> + Send;

    /// Files deleted before `before` (seconds) whose data is still there.
    fn deleted(
        &self,
        terms: Terms,
        before: i64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Deleted>>> + Send;

    /// Slices that compaction replaced before `before` (seconds).
    fn delayed(
        &self,
        terms: Terms,
        before: i64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Delayed>>> + Send;

    /// Slices without references.
    fn dead_slices(
        &self,
        terms: Terms,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(SliceId, u32)>>> + Send;

    /// Volumes by id, behind `after`.
    fn volumes(
        &self,
        terms: Terms,
        after: Option<String>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<VolumeRecord>>> + Send;

    /// The access control list with this number.
    fn acl(&self, terms: Terms, number: u32) -> impl Future<Output = Result<Option<Acl>>> + Send;

    /// The number of a list, which is put on record if it is not. Numbers are above 0;
    /// a list that two clients add at once may get two.
    fn acl_number(&self, terms: Terms, list: Acl) -> impl Future<Output = Result<u32>> + Send;

    /// Makes what was answered durable.
    fn sync(&self, terms: Terms) -> impl Future<Output = Result<()>> + Send;

    /// What the engine promises less than a user would expect.
    fn preflight(&self, terms: Terms) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// How many slices one transaction takes; more are committed file by file.
    fn most_commits(&self) -> usize {
        usize::MAX
    }

    /// How many bytes one transaction copies by reference; of more, these are copied.
    fn most_copied(&self) -> u64 {
        u64::MAX
    }
}

impl Terms {
    /// For one step of long work, without a record.
    pub(crate) fn within(patience: Duration) -> Self {
        Self {
            deadline: Instant::now() + patience,
            key: None,
        }
    }

    /// The same, with at least this much time from now on: for the next step of work
    /// whose length nobody knows.
    pub(crate) fn at_least(self, patience: Duration) -> Self {
        Self {
            deadline: self.deadline.max(Instant::now() + patience),
            ..self
        }
    }

    /// The error of a deadline that passed, with what was in the way.
    pub(crate) fn timed_out(what: impl std::fmt::Display) -> Error {
        Error::TimedOut(what.to_string())
    }
}

/// What is told of each change after it was made: for a change log, invalidation
/// or an audit.
pub(crate) trait Observer: Send + Sync {
    /// These mutations were applied together.
    fn changed(&self, mutations: &[Mutation]);
}

/// Nobody listens.
pub(crate) struct Silent;

impl Observer for Silent {
    fn changed(&self, _mutations: &[Mutation]) {}
}
