//! What this client knows of one inode that it has open or that has unwritten data.
//!
//! Locks, and why none of them can close a circle:
//!
//! - [`File::order`] is shared by writes while they copy into the pool (not while
//!   they wait for room in it), and taken whole by a **barrier**. Who holds it waits
//!   at most for the store and the engine, never for the kernel, and for no other
//!   lock but another file's `order`, in the order of inodes;
//! - [`File::opening`] orders the first open and the last close of an inode;
//! - [`File::state`] is held for moments, never across an await.

pub(crate) mod log;
pub(crate) mod queue;
pub(crate) mod table;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use carafe_types::{Attr, CHUNK_SIZE, Error, Ino, Slice, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock};

use self::{
    log::Upload,
    queue::{Garbage, Queue},
};

/// An inode in use.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) ino: Ino,
    pub(crate) order: RwLock<()>,
    pub(crate) opening: tokio::sync::Mutex<()>,
    pub(crate) state: Mutex<State>,
    /// Something that a waiter may wait for happened: a commit, a failure, a barrier's end.
    pub(crate) changed: Notify,
}

/// What can change of a [`File`].
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) opens: u32,
    /// Operations under way that need it in the table without a handle.
    pub(crate) pins: u32,
    /// It left the table: look again.
    pub(crate) gone: bool,
    /// The attributes as the engine last told them; `None` before it did.
    pub(crate) attr: Option<Attr>,
    /// When it told them.
    pub(crate) told: Option<Instant>,
    /// Grows with each change of `attr` and `lists` that is this client's doing, so that
    /// an answer that was asked for before is known to be old.
    pub(crate) version: u64,
    /// Another client changed the file since the kernel was last told to forget its pages.
    pub(crate) stale: bool,
    /// Cached slice lists by chunk.
    pub(crate) lists: HashMap<u32, Arc<[Slice]>>,
    /// Queues that are not empty, by chunk.
    pub(crate) dirty: BTreeMap<u32, Queue>,
    /// No byte that is not committed stands behind this.
    pub(crate) dirty_end: u64,
    /// When the newest byte that is not committed was written.
    pub(crate) dirty_mtime: Timestamp,
    /// A barrier keeps commits from starting.
    pub(crate) held: bool,
    /// POSIX locks were asked for, and a close must drop them.
    pub(crate) posix_locked: bool,
    /// A commit is under way.
    pub(crate) committing: bool,
    /// Attempts to upload or commit that failed; nothing is lost by them.
    pub(crate) failures: u64,
    pub(crate) failure: Option<Error>,
    /// How often acknowledged bytes had to be given up, and why the last time. Each
    /// handle tells it once.
    pub(crate) losses: u64,
    pub(crate) loss: Option<Error>,
}

/// Slice lists of one file that are kept.
const MAX_LISTS: usize = 1024;

impl File {
    pub(crate) fn new(ino: Ino) -> Self {
        Self {
            ino,
            order: RwLock::default(),
            opening: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Only a mount that ends drops a file that is dirty: a successor goes on.
        for (_, queue) in std::mem::take(&mut self.state.get_mut().dirty) {
            queue.logs.into_iter().for_each(log::Log::leave);
        }
    }
}

impl State {
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether nothing needs it in the table.
    pub(crate) fn is_idle(&self) -> bool {
        self.opens == 0 && self.pins == 0 && !self.is_dirty()
    }

    /// The length that a reader sees.
    pub(crate) fn length(&self) -> u64 {
        self.attr
            .as_ref()
            .map_or(0, |attr| attr.length)
            .max(self.dirty_end)
    }

    /// The attributes as they are known, with what is not yet committed.
    pub(crate) fn known(&self) -> Option<Attr> {
        self.attr.clone().map(|attr| self.with_dirty(attr))
    }

    /// Attributes with what is not yet committed.
    pub(crate) fn with_dirty(&self, mut attr: Attr) -> Attr {
        if self.is_dirty() {
            attr.length = attr.length.max(self.dirty_end);
            attr.mtime = attr.mtime.max(self.dirty_mtime);
            attr.ctime = attr.ctime.max(self.dirty_mtime);
        }
        attr
    }

    /// An answer that may be older than a commit of this client: what commits change is
    /// as the last of them left it, or newer.
    pub(crate) fn with_commits(&self, mut attr: Attr) -> Attr {
        if let Some(known) = &self.attr {
            attr.length = known.length;
            attr.mtime = known.mtime;
            attr.ctime = attr.ctime.max(known.ctime);
        }
        self.with_dirty(attr)
    }

    /// Takes attributes that the engine told. `asked` is the version when it was asked:
    /// an answer older than a change of ours is not taken. What another client changed
    /// makes cached lists old. Whether what was known is still true.
    pub(crate) fn learn(&mut self, attr: &Attr, asked: u64) -> bool {
        if asked != self.version && self.attr.is_some() {
            return true;
        }
        let same = self
            .attr
            .as_ref()
            .is_some_and(|known| (known.mtime, known.length) == (attr.mtime, attr.length));
        if !same {
            self.lists.clear();
            self.stale |= self.attr.is_some();
        }
        self.attr = Some(attr.clone());
        self.told = Some(Instant::now());
        same
    }

    /// This client changed the file in the engine, which answered `attr`.
    pub(crate) fn changed_by_us(&mut self, attr: Attr) {
        self.version += 1;
        self.attr = Some(attr);
        self.told = Some(Instant::now());
    }

    /// Keeps a slice list, unless it was asked for before a change of ours.
    pub(crate) fn keep_list(&mut self, index: u32, list: &Arc<[Slice]>, asked: u64) {
        if asked != self.version {
            return;
        }
        if self.lists.len() >= MAX_LISTS {
            self.lists.clear();
        }
        self.lists.insert(index, Arc::clone(list));
    }

    /// Committed records follow what is cached of a chunk.
    pub(crate) fn extend_list(&mut self, index: u32, records: &[Slice]) {
        if let Some(list) = self.lists.get_mut(&index) {
            *list = list.iter().chain(records).copied().collect();
        }
    }

    /// Seals all logs; fails none, retries those blocks that failed.
    pub(crate) fn seal_all(&mut self, uploads: &mut Vec<Upload>) {
        for queue in self.dirty.values_mut() {
            queue.seal(|_| true, uploads);
            queue.logs.iter_mut().for_each(|log| log.retry(uploads));
        }
    }

    /// The newest number among the pieces that are not committed.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.orders().max()
    }

    /// The oldest number among the pieces that are not committed.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.orders().min()
    }

    fn orders(&self) -> impl Iterator<Item = u64> {
        self.dirty
            .values()
            .flat_map(|queue| &queue.logs)
            .flat_map(|log| &log.pieces)
            .map(|piece| piece.order)
    }

    /// Forgets queues that became empty.
    pub(crate) fn settle(&mut self) {
        self.dirty.retain(|_, queue| !queue.logs.is_empty());
        let end = self
            .dirty
            .iter()
            .map(|(index, queue)| u64::from(*index) * CHUNK_SIZE + u64::from(queue.end()));
        self.dirty_end = end.max().unwrap_or(0);
    }

    /// Cuts what is dirty at `length` and behind it.
    pub(crate) fn cut(&mut self, length: u64, garbage: &mut Vec<Garbage>) {
        for (index, queue) in &mut self.dirty {
            let start = u64::from(*index) * CHUNK_SIZE;
            queue.cut(length.saturating_sub(start).min(CHUNK_SIZE) as u32, garbage);
        }
        self.settle();
    }

    /// An attempt failed; nothing is lost.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failures += 1;
        self.failure = Some(error);
    }

    /// Acknowledged bytes are given up.
    pub(crate) fn lose(&mut self, error: Error) {
        self.losses += 1;
        self.loss = Some(error);
    }
}
