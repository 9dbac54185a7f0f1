//! How a [`Vfs`] is made of its parts, and how it ends.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use carafe_chunk::BlockStore;
use carafe_meta::{Call, Meta};
use carafe_state::Region;
use carafe_types::{Clock, Result};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Invalidator, Vfs, compact,
    compact::chunks::Compactions,
    gate::Gate,
    handle::Handles,
    invalidate::Notices,
    operations::{Done, Operations},
    reader::neighbours::Neighbours,
    recent::Recent,
    shared::Core,
    writer::{commit, commits::Commits, flush},
};

/// What a [`Vfs`] is made of.
pub struct Parts {
    /// The metadata engine.
    pub meta: Arc<dyn Meta>,
    /// The blocks.
    pub blocks: Arc<BlockStore>,
    /// The memory that outlives this process; its session is the mount's.
    pub region: Region,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The kernel's caches.
    pub invalidator: Arc<dyn Invalidator>,
}

impl Vfs {
    /// Starts a file system over these parts, inside a tokio runtime.
    pub fn new(parts: Parts, config: Config) -> Self {
        let stop = CancellationToken::new();
        // Above every number that a predecessor gave, also to commits of which no
        // record is left.
        let start = parts.clock.now().to_micros().0.max(1) as u64;
        let core = Arc::new(Core {
            meta: parts.meta,
            blocks: parts.blocks,
            handles: Handles::new(&parts.region),
            region: parts.region,
            clock: parts.clock,
            notices: Notices::start(parts.invalidator),
            gate: Gate,
            config,
            files: Arc::default(),
            commits: Commits::default(),
            compactions: Compactions::default(),
            recent: Recent::default(),
            neighbours: Neighbours::default(),
            operations: Operations::new(),
            pressure: Notify::new(),
            refill: Mutex::default(),
            orders: AtomicU64::new(start),
        });
        tokio::spawn(commit::run(Arc::clone(&core), stop.clone()));
        compact::start(&core, &stop);
        tokio::spawn(flush::run(Arc::clone(&core), stop.clone()));
        Self {
            core,
            _stop: stop.drop_guard(),
        }
    }

    /// A call of this mount's session by a process.
    pub fn call(&self, uid: u32, gid: u32, pid: u32) -> Call {
        let squash = self.core.config.squash;
        let other = squash.of(uid);
        let (uid, gid) = other.unwrap_or((uid, gid));
        Call {
            uid,
            gid,
            pid,
            session: self.core.session(),
            squashed: other.is_some(),
            checked: !squash.is_on(),
            ..Call::internal()
        }
    }

    /// How long the kernel may keep that a name is not there.
    pub fn negative_timeout(&self) -> Duration {
        self.core.config.negative_timeout
    }

    /// An operation that the kernel asked for is done. One on a virtual file is not
    /// counted: who reads the log would hear of nothing but itself.
    pub fn note(&self, done: Done<'_>) {
        if self.core.internal_node(done.ino).is_some() {
            return;
        }
        self.core.operations.note(done, || self.core.clock.now());
    }

    /// Uploads and commits everything that was acknowledged, until `deadline`. What
    /// is left stays in the region, and is an error here.
    pub async fn drain(&self, deadline: Instant) -> Result<()> {
        self.core.drain(deadline.into()).await
    }
}
