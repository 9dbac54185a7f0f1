//! One cache directory of one volume.

use std::{
    collections::HashMap,
    io,
    ops::Range,
    os::fd::OwnedFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use carafe_types::{BlockKey, SliceId};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::{
    CacheDirectory, DiskCacheConfig,
    files::Files,
    index::{Index, Removed, pack},
    records::Records,
    writer::{Job, run},
};
use crate::{CacheStats, Cached, FileBlock, UNIT, memory::slice};

/// A block is taken to be at least this large when the number of blocks is bounded.
const SMALLEST: u64 = 16 << 10;

/// What the readers and the writing thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) root: Arc<OwnedFd>,
    pub(super) files: Files,
    pub(super) block_size: u32,
    pub(super) capacity: u64,
    pub(super) most_blocks: usize,
    index: Mutex<Index>,
    records: OnceLock<Arc<Records>>,
    queue: Mutex<HashMap<BlockKey, Vec<Bytes>>>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    damaged: AtomicU64,
    queued_bytes: AtomicU64,
}

impl Shared {
    pub(super) fn begin(&self, index: Index, records: Arc<Records>) {
        *self.index.lock() = index;
        let _ = self.records.set(records);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.index.lock().bytes()
    }

    pub(super) fn blocks(&self) -> usize {
        self.index.lock().len()
    }

    pub(super) fn evict(&self) -> Option<Removed> {
        let removed = self.index.lock().evict();
        self.counters
            .evictions
            .fetch_add(u64::from(removed.is_some()), Ordering::Relaxed);
        removed
    }

    /// A slot for a block that is not there yet.
    pub(super) fn claim_slot(&self, block: u64) -> Option<u32> {
        let mut index = self.index.lock();
        (!index.has(block)).then(|| index.take_slot())
    }

    /// Enters the block that `slot` was filled with, or frees the slot.
    pub(super) fn settle_slot(&self, slot: u32, filled: Option<(u64, u32)>) {
        let mut index = self.index.lock();
        match filled {
            Some((block, size)) => index.add(slot, block, size),
            None => index.give_back(slot),
        }
    }

    pub(super) fn queued(&self, key: BlockKey) -> Option<Vec<Bytes>> {
        self.queue.lock().get(&key).cloned()
    }

    pub(super) fn take_queued(&self, key: BlockKey) -> Option<Vec<Bytes>> {
        let taken = self.queue.lock().remove(&key)?;
        self.counters
            .queued_bytes
            .fetch_sub(u64::from(key.size), Ordering::Relaxed);
        Some(taken)
    }

    fn enqueue(&self, key: BlockKey, parts: &[Bytes], most: u64) -> bool {
        let size = u64::from(key.size);
        let mut queue = self.queue.lock();
        if queue.contains_key(&key)
            || self.counters.queued_bytes.load(Ordering::Relaxed) + size > most
        {
            return false;
        }
        self.counters
            .queued_bytes
            .fetch_add(size, Ordering::Relaxed);
        queue.insert(key, parts.to_vec());
        true
    }

    /// Where the bytes `range` of a block lie. The slot may be given to another block
    /// meanwhile: then the checksums do not fit, and the block counts as a miss.
    async fn find(self: &Arc<Self>, key: BlockKey, range: Range<u32>) -> Option<FileBlock> {
        let slot = self.index.lock().find_and_use(pack(key)?, key.size)?;
        let units = range.start / UNIT..range.end.div_ceil(UNIT);
        let records = self.records.get()?;
        let (file, sums) = match self.files.reader(key.slice).and_then(|file| {
            let sums = records.sums_if_cached(slot, units.clone())?;
            Ok((file, sums))
        }) {
            Ok(found) => found,
            Err(error) => return self.lost(key, &error),
        };
        let checksums = match sums {
            Some(sums) => sums,
            None => match self
                .read_sums(Arc::clone(records), slot, units.clone())
                .await
            {
                Ok(sums) => sums,
                Err(error) => return self.lost(key, &error),
            },
        };
        let start = units.start * UNIT;
        Some(FileBlock {
            file,
            units_offset: self.files.offset(key.index) + u64::from(start),
            units_len: (units.end * UNIT).min(key.size) - start,
            skip: range.start - start,
            len: range.end - range.start,
            checksums,
        })
    }

    async fn read_sums(
        &self,
        records: Arc<Records>,
        slot: u32,
        units: Range<u32>,
    ) -> io::Result<Box<[u32]>> {
        spawn_blocking(move || records.sums(slot, units))
            .await
            .map_err(io::Error::other)?
    }

    fn lost(&self, key: BlockKey, error: &io::Error) -> Option<FileBlock> {
        tracing::debug!(%key, %error, "a cached block's file is gone");
        let block = pack(key)?;
        let removed = self.index.lock().remove(block)?;
        // Its record stays until the slot is filled again; it is no use to anybody.
        self.settle_slot(removed.slot, None);
        None
    }
}

/// The reader's side of a directory; the writing thread ends with it.
#[derive(Debug)]
pub(super) struct Directory {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    queue_bytes: u64,
}

impl Directory {
    pub(super) fn open(
        place: CacheDirectory,
        config: &DiskCacheConfig,
        capacity: u64,
    ) -> io::Result<Self> {
        let root = Arc::new(place.below(&config.volume)?);
        let shared = Arc::new(Shared {
            name: place.name,
            files: Files::new(Arc::clone(&root), config.block_size),
            root,
            block_size: config.block_size,
            capacity,
            most_blocks: (capacity / SMALLEST).clamp(1024, u64::from(u32::MAX) / 2) as usize,
            index: Mutex::default(),
            records: OnceLock::new(),
            queue: Mutex::default(),
            counters: Counters::default(),
        });
        let (jobs, received) = channel();
        let (theirs, floor) = (Arc::clone(&shared), config.free_floor);
        let thread = thread::Builder::new()
            .name("cache-writer".into())
            .spawn(move || run(&theirs, &received, floor))?;
        Ok(Self {
            shared,
            jobs: Some(jobs),
            thread: Some(thread),
            queue_bytes: config.queue_bytes,
        })
    }

    pub(super) fn weight_for(&self, slice: SliceId) -> u64 {
        let seed = self.shared.name.bytes().chain(slice.0.to_le_bytes());
        seed.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    pub(super) async fn get(&self, key: BlockKey, range: Range<u32>) -> Option<Cached> {
        let shared = &self.shared;
        let found = match shared.queued(key) {
            Some(parts) => Some(Cached::Bytes(slice(&parts, range))),
            None => shared.find(key, range).await.map(Cached::File),
        };
        let counter = if found.is_some() {
            &shared.counters.hits
        } else {
            &shared.counters.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub(super) fn insert(&self, key: BlockKey, parts: &[Bytes]) {
        let fits = key.size > 0 && key.size <= self.shared.block_size && pack(key).is_some();
        if fits && !self.is_indexed(key) && self.shared.enqueue(key, parts, self.queue_bytes) {
            self.send(Job::Write(key));
        }
    }

    pub(super) fn contains(&self, key: BlockKey) -> bool {
        self.is_indexed(key) || self.shared.queue.lock().contains_key(&key)
    }

    fn is_indexed(&self, key: BlockKey) -> bool {
        pack(key).is_some_and(|block| self.shared.index.lock().find(block, key.size).is_some())
    }

    pub(super) fn remove(&self, key: BlockKey) {
        self.shared.take_queued(key);
        if let Some(removed) = pack(key).and_then(|block| self.shared.index.lock().remove(block)) {
            self.send(Job::Free(removed));
        }
    }

    pub(super) fn remove_damaged(&self, key: BlockKey) {
        self.shared.files.forget(key.slice);
        if self.is_indexed(key) {
            self.shared.counters.damaged.fetch_add(1, Ordering::Relaxed);
            self.remove(key);
        }
    }

    pub(super) fn settle(&self) {
        let (done, settled) = channel();
        self.send(Job::Settle(done));
        // The thread ends only with this directory.
        let _ = settled.recv();
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread ends only with this directory.
            let _ = jobs.send(job);
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        let counters = &self.shared.counters;
        let index = self.shared.index.lock();
        CacheStats {
            blocks: index.len() as u64,
            bytes: index.bytes(),
            hits: counters.hits.load(Ordering::Relaxed),
            misses: counters.misses.load(Ordering::Relaxed),
            evictions: counters.evictions.load(Ordering::Relaxed),
            damaged: counters.damaged.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Directory {
    /// Writes what still waits, then ends the thread and with it the lock.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
