//! What the readers of a directory and the thread that writes it share.

use std::{
    collections::HashMap,
    io,
    ops::Range,
    os::fd::OwnedFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use carafe_types::BlockKey;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::{
    files::Files,
    index::{Index, Removed, pack},
    records::Records,
};
use crate::{CacheStats, FileBlock, UNIT};

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
    /// A directory below `root` whose records are not read yet.
    pub(super) fn new(name: String, root: OwnedFd, block_size: u32, capacity: u64) -> Self {
        let root = Arc::new(root);
        Self {
            name,
            files: Files::new(Arc::clone(&root), block_size),
            root,
            block_size,
            capacity,
            most_blocks: (capacity / SMALLEST).clamp(1024, u64::from(u32::MAX) / 2) as usize,
            index: Mutex::default(),
            records: OnceLock::new(),
            queue: Mutex::default(),
            counters: Counters::default(),
        }
    }

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

    pub(super) fn is_indexed(&self, key: BlockKey) -> bool {
        pack(key).is_some_and(|block| self.index.lock().find(block, key.size).is_some())
    }

    /// Takes a block out of the index; what belonged to it is to be freed.
    pub(super) fn remove(&self, key: BlockKey) -> Option<Removed> {
        self.index.lock().remove(pack(key)?)
    }

    pub(super) fn is_queued(&self, key: BlockKey) -> bool {
        self.queue.lock().contains_key(&key)
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

    pub(super) fn enqueue(&self, key: BlockKey, parts: &[Bytes], most: u64) -> bool {
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
    pub(super) async fn find(&self, key: BlockKey, range: Range<u32>) -> Option<FileBlock> {
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

    pub(super) fn count_get(&self, is_hit: bool) {
        let counter = if is_hit {
            &self.counters.hits
        } else {
            &self.counters.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_damaged(&self) {
        self.counters.damaged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> CacheStats {
        let (counters, index) = (&self.counters, self.index.lock());
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
