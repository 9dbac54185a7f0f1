//! The trait that every cache implements.

use std::{fmt::Debug, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use carafe_types::BlockKey;

use crate::Cached;

/// Figures of a cache since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Blocks held now.
    pub blocks: u64,
    /// Bytes held now.
    pub bytes: u64,
    /// Lookups that were answered.
    pub hits: u64,
    /// Lookups that were not.
    pub misses: u64,
    /// Blocks that were forgotten to make room.
    pub evictions: u64,
    /// Blocks whose bytes were not those that were stored: served as misses.
    pub damaged: u64,
}

impl CacheStats {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            blocks: self.blocks + other.blocks,
            bytes: self.bytes + other.bytes,
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            evictions: self.evictions + other.evictions,
            damaged: self.damaged + other.damaged,
        }
    }
}

/// A cache of plain blocks. Blocks never change, so neither do entries.
#[async_trait]
pub trait BlockCache: Debug + Send + Sync {
    /// Finds the bytes `range` of a block; `None` is a miss.
    async fn get(&self, key: BlockKey, range: Range<u32>) -> Option<Cached>;

    /// Takes a whole block, if it wants. Returns before it is on disk; a lookup that
    /// follows may already be answered from memory.
    fn insert(&self, key: BlockKey, parts: &[Bytes]);

    /// Whether a lookup would probably be answered; counts as no use.
    fn contains(&self, key: BlockKey) -> bool;

    /// Forgets a block.
    fn remove(&self, key: BlockKey);

    /// Forgets a block because what [`BlockCache::get`] answered could not be loaded.
    fn remove_damaged(&self, key: BlockKey) {
        self.remove(key);
    }

    /// Whether it pays to fetch more than is asked for, to find it here later.
    fn is_worth_filling(&self) -> bool {
        true
    }

    /// The figures now.
    fn stats(&self) -> CacheStats;
}

/// A cache that holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCache;

#[async_trait]
impl BlockCache for NoCache {
    async fn get(&self, _: BlockKey, _: Range<u32>) -> Option<Cached> {
        None
    }

    fn insert(&self, _: BlockKey, _: &[Bytes]) {}

    fn contains(&self, _: BlockKey) -> bool {
        false
    }

    fn remove(&self, _: BlockKey) {}

    fn is_worth_filling(&self) -> bool {
        false
    }

    fn stats(&self) -> CacheStats {
        CacheStats::default()
    }
}
