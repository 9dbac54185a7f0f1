//! Blocks in memory, bounded by their bytes.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use carafe_types::BlockKey;
use quick_cache::{Weighter, sync::Cache};

use crate::{BlockCache, CacheStats, Cached};

/// What a block costs besides its bytes.
const OVERHEAD: u64 = 128;

/// A cache in memory. It keeps the pieces that it is given: whoever gives pieces of
/// memory that is scarce copies them first.
#[derive(Debug)]
pub struct MemoryCache {
    blocks: Cache<BlockKey, Vec<Bytes>, Bytewise>,
    hits: AtomicU64,
    misses: AtomicU64,
    capacity: u64,
}

#[derive(Clone, Debug)]
struct Bytewise;

impl Weighter<BlockKey, Vec<Bytes>> for Bytewise {
    fn weight(&self, key: &BlockKey, parts: &Vec<Bytes>) -> u64 {
        u64::from(key.size) + OVERHEAD + parts.len() as u64 * size_of::<Bytes>() as u64
    }
}

impl MemoryCache {
    /// The capacity if nobody says another.
    pub const DEFAULT_CAPACITY: u64 = 100 << 20;

    /// An empty cache of `capacity` bytes, for blocks of about `block_size`.
    pub fn new(capacity: u64, block_size: u32) -> Self {
        let expected = (capacity / u64::from(block_size.max(1))).clamp(16, 1 << 16) as usize;
        let blocks = Cache::with_weighter(expected, capacity, Bytewise);
        Self {
            blocks,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            capacity,
        }
    }
}

#[async_trait]
impl BlockCache for MemoryCache {
    async fn get(&self, key: BlockKey, range: Range<u32>) -> Option<Cached> {
        let found = self.blocks.get(&key);
        let counter = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Some(Cached::Bytes(slice(&found?, range)))
    }

    fn insert(&self, key: BlockKey, parts: &[Bytes]) {
        if u64::from(key.size) <= self.capacity / 2 {
            self.blocks.insert(key, parts.to_vec());
        }
    }

    fn contains(&self, key: BlockKey) -> bool {
        self.blocks.peek(&key).is_some()
    }

    fn remove(&self, key: BlockKey) {
        self.blocks.remove(&key);
    }

    fn stats(&self) -> CacheStats {
        CacheStats {
            blocks: self.blocks.len() as u64,
            bytes: self.blocks.weight(),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            ..CacheStats::default()
        }
    }
}

/// The bytes `range` of `parts`, without copying.
pub(crate) fn slice(parts: &[Bytes], range: Range<u32>) -> Vec<Bytes> {
    let (from, to) = (range.start as usize, range.end as usize);
    let mut start = 0;
    let mut taken = Vec::new();
    for part in parts {
        let end = start + part.len();
        if from < end && to > start {
            taken.push(part.slice(from.max(start) - start..to.min(end) - start));
        }
        start = end;
    }
    taken
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use carafe_types::SliceId;

    use super::*;

    fn key(slice: u64, size: u32) -> BlockKey {
        BlockKey {
            slice: SliceId(slice),
            index: 0,
            size,
        }
    }

    #[tokio::test]
    async fn a_range_over_a_cut_is_found() {
        let cache = MemoryCache::new(1 << 20, 4096);
        cache.insert(
            key(1, 6),
            &[Bytes::from_static(b"abc"), Bytes::from_static(b"def")],
        );
        let found = cache
            .get(key(1, 6), 2..5)
            .await
            .unwrap()
            .load()
            .await
            .unwrap();
        assert_eq!(found.concat(), b"cde");
        assert_eq!((cache.stats().hits, cache.stats().misses), (1, 0));
    }

    #[tokio::test]
    async fn it_stays_within_its_capacity() {
        let cache = MemoryCache::new(1 << 20, 4096);
        for slice in 0..10_000 {
            cache.insert(key(slice, 4096), &[Bytes::from_static(&[0; 4096])]);
        }
        assert!(cache.stats().bytes <= 1 << 20, "{:?}", cache.stats());
        assert!(cache.stats().blocks > 100, "{:?}", cache.stats());
    }
}
