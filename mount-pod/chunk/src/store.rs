//! The block store.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use carafe_cache::BlockCache;
use carafe_object::{ObjectStore, slice_parts};
use carafe_types::{BlockKey, Error, Result, SliceId};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use crate::{
    Access, BlockResolver, BlockStoreConfig,
    fetch::{Fetcher, explain},
    flight::Flights,
    piece::{Piece, keys, pieces},
    prefetch::{Prefetch, Prefetcher},
};

/// How many blocks of one slice are deleted, or of one range read, at once.
const AT_ONCE: usize = 16;

/// Reads and writes blocks through the cache and the object store.
#[derive(Debug)]
pub struct BlockStore {
    fetcher: Arc<Fetcher>,
    flights: Flights,
    prefetcher: Prefetcher,
    uploads: Semaphore,
}

impl BlockStore {
    /// A block store over these parts. Called inside a tokio runtime, which then
    /// runs the prefetches; without one there are none.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        cache: Arc<dyn BlockCache>,
        resolver: Arc<dyn BlockResolver>,
        config: BlockStoreConfig,
    ) -> Arc<Self> {
        Arc::new(Self {
            prefetcher: Prefetcher::new(config.max_prefetch),
            uploads: Semaphore::new(config.max_uploads.max(1)),
            fetcher: Arc::new(Fetcher::new(store, cache, resolver, config)),
            flights: Flights::default(),
        })
    }

    /// How it works.
    pub fn config(&self) -> &BlockStoreConfig {
        &self.fetcher.config
    }

    /// The object store below.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.fetcher.store
    }

    /// The cache.
    pub fn cache(&self) -> &Arc<dyn BlockCache> {
        &self.fetcher.cache
    }

    /// The bytes `[off, off + len)` of a slice of `slice_size` bytes, in pieces, in
    /// order, exactly `len` of them. Holes must not come here, nor ranges behind the
    /// slice's end ([`Error::Invalid`]).
    pub async fn read(
        &self,
        slice: SliceId,
        slice_size: u32,
        off: u32,
        len: u32,
        access: Access,
    ) -> Result<Vec<Bytes>> {
        let mut pieces = pieces(self.config().block_size, slice, slice_size, off, len)?;
        if pieces.len() == 1 {
            return self.piece(pieces.remove(0), access).await;
        }
        let reads = pieces.into_iter().map(|piece| self.piece(piece, access));
        stream::iter(reads).buffered(AT_ONCE).try_concat().await
    }

    async fn piece(&self, piece: Piece, access: Access) -> Result<Vec<Bytes>> {
        let Piece { key, range } = piece.clone();
        if let Some(parts) = self.fetcher.cached(key, range.clone()).await {
            return Ok(parts);
        }
        if !self.flights.has(key) && self.fetcher.wants_part(&piece, access) {
            return Ok(self.fetcher.download(key, range).await?.parts);
        }
        let block = self
            .flights
            .join(key, Arc::clone(&self.fetcher).whole(key))
            .await?;
        Ok(if piece.is_whole() {
            block.parts
        } else {
            slice_parts(&block.parts, range.start as usize..range.end as usize)
        })
    }

    /// Begins to bring the blocks of a range into the cache; stops when the answer is
    /// dropped. Begins less, or nothing, when too much is under way, or when the
    /// range is none of the slice's.
    pub fn prefetch(&self, slice: SliceId, slice_size: u32, off: u32, len: u32) -> Prefetch {
        let pieces =
            pieces(self.config().block_size, slice, slice_size, off, len).unwrap_or_default();
        self.prefetcher.begin(
            &self.fetcher,
            &self.flights,
            pieces.into_iter().map(|piece| piece.key),
        )
    }

    /// Uploads a block, then offers it to the cache. `parts` hold `key.size` bytes
    /// together; they are not kept. May be repeated, and dropped at any await.
    pub async fn put(&self, key: BlockKey, parts: Vec<Bytes>) -> Result<()> {
        if parts.iter().map(Bytes::len).sum::<usize>() != key.size as usize {
            return Err(Error::Invalid);
        }
        self.upload(key, parts.clone()).await?;
        if key.size < self.config().block_size || self.config().cache_full_blocks {
            self.cache().insert(key, &[copy(&parts, key.size)]);
        }
        Ok(())
    }

    async fn upload(&self, key: BlockKey, parts: Vec<Bytes>) -> Result<()> {
        let _permit = self
            .uploads
            .acquire()
            .await
            .map_err(|_| Error::Interrupted)?;
        let location = self.fetcher.resolver.locate(key).await?;
        let store = location.store.as_ref().unwrap_or(&self.fetcher.store);
        store
            .put(&location.key, parts.into())
            .await
            .map_err(|error| explain(&location.key, &error))
    }

    /// Deletes all blocks of a slice, in the store and in the cache. Tries all before
    /// it fails. May be repeated.
    pub async fn delete_slice(&self, slice: SliceId, size: u32) -> Result<()> {
        let deletions = keys(self.config().block_size, slice, size).map(|key| self.delete(key));
        let results: Vec<Result<()>> = stream::iter(deletions)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        results.into_iter().collect()
    }

    async fn delete(&self, key: BlockKey) -> Result<()> {
        self.cache().remove(key);
        let location = self.fetcher.resolver.locate(key).await?;
        let store = location.store.as_ref().unwrap_or(&self.fetcher.store);
        store
            .delete(&location.key)
            .await
            .map_err(|error| explain(&location.key, &error))
    }
}

/// The pieces come from buffers that are scarce: the cache must not hold them.
fn copy(parts: &[Bytes], size: u32) -> Bytes {
    let mut whole = BytesMut::with_capacity(size as usize);
    for part in parts {
        whole.extend_from_slice(part);
    }
    whole.freeze()
}
