//! One cache directory of one volume.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use carafe_types::{BlockKey, SliceId};

use super::{
    CacheDirectory, DiskCacheConfig,
    index::pack,
    shared::Shared,
    writer::{Job, run},
};
use crate::{CacheStats, Cached, memory::slice};

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
        let root = place.below(&config.volume)?;
        let shared = Shared::new(place.name, root, config.block_size, capacity);
        let shared = Arc::new(shared);
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
        shared.count_get(found.is_some());
        found
    }

    pub(super) fn insert(&self, key: BlockKey, parts: &[Bytes]) {
        let fits = key.size > 0 && key.size <= self.shared.block_size && pack(key).is_some();
        if fits && !self.shared.is_indexed(key) && self.shared.enqueue(key, parts, self.queue_bytes)
        {
            self.send(Job::Write(key));
        }
    }

    pub(super) fn contains(&self, key: BlockKey) -> bool {
        self.shared.is_indexed(key) || self.shared.is_queued(key)
    }

    pub(super) fn remove(&self, key: BlockKey) {
        self.shared.take_queued(key);
        if let Some(removed) = self.shared.remove(key) {
            self.send(Job::Free(removed));
        }
    }

    pub(super) fn remove_damaged(&self, key: BlockKey) {
        self.shared.files.forget(key.slice);
        if self.shared.is_indexed(key) {
            self.shared.count_damaged();
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
        self.shared.stats()
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
