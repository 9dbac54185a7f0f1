//! The block store.

use std::sync::Arc;

use bytes::Bytes;
use carafe_cache::BlockCache;
use carafe_object::ObjectStore;
use carafe_types::{BlockKey, Error, Result, SliceId};

use crate::{Access, BlockResolver, BlockStoreConfig};

/// Reads and writes blocks through the cache and the object store.
#[derive(Debug)]
pub struct BlockStore {
    store: Arc<dyn ObjectStore>,
    cache: Arc<dyn BlockCache>,
    resolver: Arc<dyn BlockResolver>,
    config: BlockStoreConfig,
}

impl BlockStore {
    /// A block store over these parts. Must be used inside a tokio runtime.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        cache: Arc<dyn BlockCache>,
        resolver: Arc<dyn BlockResolver>,
        config: BlockStoreConfig,
    ) -> Arc<Self> {
        Arc::new(Self { store, cache, resolver, config })
    }

    /// How it works.
    pub fn config(&self) -> &BlockStoreConfig {
        &self.config
    }

    /// The bytes `[off, off + len)` of a slice of `slice_size` bytes, in pieces, in
    /// order, exactly `len` of them. Holes must not come here, nor ranges behind the
    /// slice's end ([`Error::Invalid`]).
    pub async fn read(&self, slice: SliceId, slice_size: u32, off: u32, len: u32, access: Access) -> Result<Vec<Bytes>> {
        let _ = (slice, slice_size, off, len, access, &self.store, &self.cache, &self.resolver);
        Err(Error::NotImplemented)
    }

    /// Begins to bring the blocks of a range into the cache; stops when the answer is
    /// dropped. Begins less, or nothing, when too much is under way.
    pub fn prefetch(self: &Arc<Self>, slice: SliceId, slice_size: u32, off: u32, len: u32) -> Prefetch {
        let _ = (slice, slice_size, off, len);
        Prefetch {}
    }

    /// Uploads a block, then offers it to the cache. `parts` hold `key.size` bytes
    /// together. May be repeated, and dropped at any await.
    pub async fn put(&self, key: BlockKey, parts: Vec<Bytes>) -> Result<()> {
        let _ = (key, parts);
        Err(Error::NotImplemented)
    }

    /// Deletes all blocks of a slice, in the store and in the cache. May be repeated.
    pub async fn delete_slice(&self, slice: SliceId, size: u32) -> Result<()> {
        let _ = (slice, size);
        Err(Error::NotImplemented)
    }
}

/// Blocks on their way into the cache; dropping it stops what is not yet there.
#[must_use = "a prefetch stops when it is dropped"]
#[derive(Debug)]
pub struct Prefetch {}
