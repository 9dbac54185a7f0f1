//! The chunks that wait for compaction, and those that are compacted now.

use std::collections::HashSet;

use carafe_types::Ino;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Chunks that wait; more are not taken, and asked for again by later writes.
const MOST_WAITING: usize = 1024;

/// A chunk of a file.
pub(super) type Chunk = (Ino, u32);

/// The chunks that may be worth compacting.
#[derive(Debug, Default)]
pub(crate) struct Compactions {
    waiting: Mutex<HashSet<Chunk>>,
    under_way: Mutex<HashSet<Chunk>>,
    wake: Notify,
}

impl Compactions {
    /// A chunk may be worth it.
    pub(super) fn add(&self, chunk: Chunk) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < MOST_WAITING && waiting.insert(chunk) {
            self.wake.notify_one();
        }
    }

    /// Waits until there is one.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes a chunk that nobody compacts already.
    pub(super) fn take(&self) -> Option<UnderWay<'_>> {
        let mut waiting = self.waiting.lock();
        let mut under_way = self.under_way.lock();
        let chunk = *waiting.iter().find(|chunk| !under_way.contains(chunk))?;
        waiting.remove(&chunk);
        under_way.insert(chunk);
        if !waiting.is_empty() {
            self.wake.notify_one();
        }
        Some(UnderWay { all: self, chunk })
    }
}

/// A chunk that is being compacted.
pub(super) struct UnderWay<'a> {
    all: &'a Compactions,
    pub(super) chunk: Chunk,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.all.under_way.lock().remove(&self.chunk);
    }
}
