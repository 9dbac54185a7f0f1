//! Blocks on local disks, found again after a restart.
//!
//! Below each cache directory, the volume has a directory of its own (its UUID) with
//!
//! | name | content |
//! |---|---|
//! | `data/<slice % 256>/<slice>` | a slice's blocks at their offsets; sparse where a block is not cached |
//! | `index` | a header, then one record for each **slot**: which block the slot stands for |
//! | `sums` | for each slot the CRC32C of each unit of its block |
//!
//! A block counts as cached when its record is there, and is believed when its bytes
//! agree with its checksums; so nothing needs to be synced, nothing is walked at start
//! but the records, and everything may be deleted at any time.
//!
//! One process at a time uses a volume's directory (a lock on `index`). A second one,
//! as there is for a moment when a mount moves to a new version, answers misses until
//! it gets the lock.

mod directory;
mod files;
mod index;
mod place;
mod records;
mod shared;
mod space;
mod writer;

use std::{io, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use carafe_types::BlockKey;

use crate::{BlockCache, CacheStats, Cached};
use directory::Directory;

pub use place::CacheDirectory;

/// How a disk cache works.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskCacheConfig {
    /// The volume's UUID: the name of its directory below each cache directory.
    pub volume: String,
    /// The volume's block size in bytes.
    pub block_size: u32,
    /// The most bytes that blocks may take in all directories together.
    pub capacity: u64,
    /// The part of each file system, in space and in inodes, that stays free.
    pub free_floor: f64,
    /// The most bytes of blocks that wait to be written; more are not taken.
    pub queue_bytes: u64,
}

impl DiskCacheConfig {
    /// As `juicefs` has it by default: 100 GiB, a tenth stays free.
    pub fn new(volume: impl Into<String>, block_size: u32) -> Self {
        Self {
            volume: volume.into(),
            block_size,
            capacity: 100 << 30,
            free_floor: 0.1,
            queue_bytes: 32 << 20,
        }
    }
}

/// A cache in one or several directories.
#[derive(Debug)]
pub struct DiskCache {
    directories: Vec<Directory>,
}

impl DiskCache {
    /// Opens a cache in `places`, of which there is at least one; the capacity is
    /// shared among them. Returns before the records are read: until then, and where
    /// a directory cannot be used, lookups miss.
    pub fn open(places: Vec<CacheDirectory>, config: &DiskCacheConfig) -> io::Result<Arc<Self>> {
        if places.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a disk cache needs a directory",
            ));
        }
        let capacity = config.capacity / places.len() as u64;
        let open = |place: CacheDirectory| Directory::open(place, config, capacity);
        let directories = places.into_iter().map(open).collect::<io::Result<_>>()?;
        Ok(Arc::new(Self { directories }))
    }

    /// Waits until what was inserted is written and what was removed is gone. Blocks.
    pub fn settle(&self) {
        self.directories.iter().for_each(Directory::settle);
    }

    /// The directory of a slice: the one whose name and the slice's number hash
    /// highest together, so that most slices stay where they are when a directory is
    /// added or taken away.
    fn of(&self, key: BlockKey) -> Option<&Directory> {
        self.directories
            .iter()
            .max_by_key(|directory| directory.weight_for(key.slice))
    }
}

#[async_trait]
impl BlockCache for DiskCache {
    async fn get(&self, key: BlockKey, range: Range<u32>) -> Option<Cached> {
        self.of(key)?.get(key, range).await
    }

    fn insert(&self, key: BlockKey, parts: &[Bytes]) {
        if let Some(directory) = self.of(key) {
            directory.insert(key, parts);
        }
    }

    fn contains(&self, key: BlockKey) -> bool {
        self.of(key)
            .is_some_and(|directory| directory.contains(key))
    }

    fn remove(&self, key: BlockKey) {
        if let Some(directory) = self.of(key) {
            directory.remove(key);
        }
    }

    fn remove_damaged(&self, key: BlockKey) {
        if let Some(directory) = self.of(key) {
            directory.remove_damaged(key);
        }
    }

    fn stats(&self) -> CacheStats {
        self.directories
            .iter()
            .map(Directory::stats)
            .fold(CacheStats::default(), CacheStats::plus)
    }
}
