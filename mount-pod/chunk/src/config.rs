//! The knobs of a block store.

use std::time::Duration;

/// How a reader goes through the data: decides how much of a block is fetched
/// when only a part of it is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// In order: the whole block is fetched and cached.
    #[default]
    Sequential,
    /// Here and there: a small part of a block is fetched alone, until the block is
    /// asked for again.
    Random,
}

/// How a block store works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockStoreConfig {
    /// The volume's block size in bytes.
    pub block_size: u32,
    /// How many blocks are uploaded at once.
    pub max_uploads: usize,
    /// How many blocks are fetched at once.
    pub max_downloads: usize,
    /// How many blocks are prefetched or wait to be; more are not begun.
    pub max_prefetch: usize,
    /// Full blocks that were uploaded go into the cache too. Smaller ones always do.
    pub cache_full_blocks: bool,
    /// How long a block of a live slice that the store does not have is asked for
    /// again before the read fails.
    pub missing_patience: Duration,
}

impl Default for BlockStoreConfig {
    fn default() -> Self {
        Self {
            block_size: 4 << 20,
            max_uploads: 20,
            max_downloads: 200,
            max_prefetch: 64,
            cache_full_blocks: false,
            missing_patience: Duration::from_secs(3),
        }
    }
}
