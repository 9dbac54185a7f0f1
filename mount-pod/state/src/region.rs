//! The region: everything of this crate, opened together.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::StateError;
use crate::header::{self, Live, MARK_EXTENTS, MARK_HANDLES, MARK_LOCKS};
use crate::ids::Ids;
use crate::layout::{Config, Layout};
use crate::mapping::Mapping;
use crate::pool::{Pool, RecoveredPage};
use crate::record::{HandleRecord, LockRecord};
use crate::slots::{Request, Slots};
use crate::table::{Entry, Table};

/// How many idle big slots, small slots and pool pages keep their memory.
const WARM: (usize, usize, usize) = (2, 64, 16);

/// The state of one mount. Clones are the same region.
#[derive(Debug, Clone)]
pub struct Region {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mapping: Arc<Mapping>,
    config: Config,
    live: Live,
    ids: Ids,
    slots: Slots,
    pool: Pool,
    handles: Table<HandleRecord>,
    locks: Table<LockRecord>,
    recovery: Mutex<Option<Recovery>>,
    requests: Mutex<Vec<Request>>,
}

/// What a predecessor left, but for its requests. Dropping a part of it retires that
/// part: whoever takes it adopts or commits it.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Open handles.
    pub handles: Vec<(Entry<HandleRecord>, HandleRecord)>,
    /// Locks.
    pub locks: Vec<(Entry<LockRecord>, LockRecord)>,
    /// Acknowledged bytes.
    pub pages: Vec<RecoveredPage>,
    /// How many cells could not be read. More than none means damage, not a kill.
    pub torn: usize,
}

impl Recovery {
    /// Leaves everything for another successor.
    pub fn leave(self) {
        self.handles
            .into_iter()
            .for_each(|(entry, _)| entry.leave());
        self.locks.into_iter().for_each(|(entry, _)| entry.leave());
        self.pages.into_iter().for_each(RecoveredPage::leave);
    }
}

impl Region {
    /// Makes an empty region.
    pub fn create(config: Config) -> Result<Self, StateError> {
        let layout = Layout::new(config)?;
        let mapping = Mapping::create(layout.total)?;
        header::format(&mapping, &layout);
        Self::open(mapping, &layout)
    }

    /// Opens a region that another process made. See the crate's documentation for when
    /// that is allowed.
    pub fn attach(fd: OwnedFd) -> Result<Self, StateError> {
        let mapping = Mapping::attach(fd)?;
        let layout = header::read_layout(&mapping)?;
        Self::open(mapping, &layout)
    }

    fn open(mapping: Mapping, layout: &Layout) -> Result<Self, StateError> {
        let mapping = Arc::new(mapping);
        // The header is written all the time.
        mapping.populate(0, crate::layout::HEADER_LEN)?;
        let config = layout.config;
        let table = |offset, mark| Table::open(&mapping, offset, config.handles, mark);
        let (handles, found_handles, torn_handles) = table(layout.handles, MARK_HANDLES);
        let locks = Table::open(&mapping, layout.locks, config.handles, MARK_LOCKS);
        let (locks, found_locks, torn_locks) = locks;
        let extents = Table::open(&mapping, layout.extents, config.extents, MARK_EXTENTS);
        let (extents, found_extents, torn_extents) = extents;
        let (pool, pages) = Pool::open(&mapping, layout, extents, found_extents);
        let (slots, requests) = Slots::open(&mapping, layout);
        let recovery = Recovery {
            handles: found_handles,
            locks: found_locks,
            pages,
            torn: torn_handles + torn_locks + torn_extents,
        };
        let inner = Inner {
            live: Live::open(&mapping),
            ids: Ids::open(&mapping),
            config,
            slots,
            pool,
            handles,
            locks,
            recovery: Mutex::new(Some(recovery)),
            requests: Mutex::new(requests),
            mapping,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The memfd, to be duplicated and handed to whoever keeps it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inner.mapping.fd()
    }

    /// The sizes it was made with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The requests that a predecessor read and did not answer, in their order, the
    /// first time this is asked. One that is dropped unanswered stays in its slot.
    pub fn recover_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.inner.requests.lock())
    }

    /// What else a predecessor left, the first time this is asked.
    pub fn recover(&self) -> Recovery {
        self.inner.recovery.lock().take().unwrap_or_default()
    }

    /// The request slots.
    pub fn slots(&self) -> &Slots {
        &self.inner.slots
    }

    /// The write buffers.
    pub fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// The id batches.
    pub fn ids(&self) -> &Ids {
        &self.inner.ids
    }

    /// The open handles.
    pub fn handles(&self) -> &Table<HandleRecord> {
        &self.inner.handles
    }

    /// The locks of this client.
    pub fn locks(&self) -> &Table<LockRecord> {
        &self.inner.locks
    }

    /// The metadata session, 0 before there is one.
    pub fn session(&self) -> u64 {
        self.inner.live.session().load(Ordering::Acquire)
    }

    /// Writes the metadata session down.
    pub fn set_session(&self, session: u64) {
        self.inner.live.session().store(session, Ordering::Release);
    }

    /// What the kernel and the first worker agreed on, if they did.
    pub fn init(&self) -> Option<Vec<u8>> {
        self.inner.live.init()
    }

    /// Writes down what the kernel and this worker agreed on.
    pub fn set_init(&self, blob: &[u8]) -> Result<(), StateError> {
        self.inner.live.set_init(blob)
    }

    /// Shows the holders that this worker lives. Call it from where work is done.
    pub fn beat(&self) {
        self.inner.live.beat();
    }

    /// Gives the memory of idle slots and pages back; call it when little goes on.
    pub fn trim(&self) {
        let (big, small, pages) = WARM;
        self.inner.slots.trim(big, small);
        self.inner.pool.trim(pages);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What nobody took is for another successor.
        if let Some(recovery) = self.recovery.lock().take() {
            recovery.leave();
        }
    }
}
