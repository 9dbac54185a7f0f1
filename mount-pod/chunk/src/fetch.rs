//! Bringing blocks from the object store.

use std::{
    collections::HashMap,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_cache::BlockCache;
use carafe_object::{Object, ObjectError, ObjectStore};
use carafe_types::{BlockKey, Error, Result};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::sleep};

use crate::{Access, BlockResolver, BlockStoreConfig, Location, piece::Piece};

/// How many part reads of one block are made before it is worth having whole.
const PARTS_BEFORE_WHOLE: u8 = 2;
/// Of how many blocks part reads are counted.
const COUNTED_BLOCKS: usize = 4096;

/// What fetching needs; flights hold it while they last.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) cache: Arc<dyn BlockCache>,
    pub(crate) resolver: Arc<dyn BlockResolver>,
    pub(crate) config: BlockStoreConfig,
    downloads: Semaphore,
    part_reads: Mutex<HashMap<BlockKey, u8>>,
}

impl Fetcher {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        cache: Arc<dyn BlockCache>,
        resolver: Arc<dyn BlockResolver>,
        config: BlockStoreConfig,
    ) -> Self {
        let downloads = Semaphore::new(config.max_downloads.max(1));
        Self {
            store,
            cache,
            resolver,
            config,
            downloads,
            part_reads: Mutex::default(),
        }
    }

    /// The whole block, which then also is in the cache.
    pub(crate) async fn whole(self: Arc<Self>, key: BlockKey) -> Result<Object> {
        // It may have come in since the caller looked.
        if self.cache.contains(key)
            && let Some(parts) = self.cached(key, 0..key.size).await
        {
            return Ok(parts.into());
        }
        let block = self.download(key, 0..key.size).await?;
        self.cache.insert(key, &block.parts);
        Ok(block)
    }

    /// The bytes `range` of a block, if the cache has them whole and undamaged.
    pub(crate) async fn cached(
        &self,
        key: BlockKey,
        range: Range<u32>,
    ) -> Option<Vec<bytes::Bytes>> {
        match self.cache.get(key, range).await?.load().await {
            Ok(parts) => Some(parts),
            Err(error) => {
                tracing::warn!(%key, %error, "a cached block is damaged; it is fetched again");
                self.cache.remove_damaged(key);
                None
            }
        }
    }

    /// Whether only `piece` is worth fetching.
    pub(crate) fn wants_part(&self, piece: &Piece, access: Access) -> bool {
        let small = piece.len() <= piece.key.size / 4;
        if access == Access::Sequential || !small || !self.store.traits().cheap_ranges {
            return false;
        }
        if !self.cache.is_worth_filling() {
            return true;
        }
        let mut counts = self.part_reads.lock();
        if counts.len() >= COUNTED_BLOCKS {
            counts.clear();
        }
        let count = counts.entry(piece.key).or_default();
        *count = count.saturating_add(1);
        *count <= PARTS_BEFORE_WHOLE
    }

    /// The bytes `range` of a block from the store. A block that is missing is asked
    /// for again for a while: another client may be about to replace its slice.
    pub(crate) async fn download(&self, key: BlockKey, range: Range<u32>) -> Result<Object> {
        let _permit = self
            .downloads
            .acquire()
            .await
            .map_err(|_| Error::Interrupted)?;
        let location = self.resolver.locate(key).await?;
        let asked = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            match self.attempt(&location, key, range.clone()).await {
                Err(ObjectError::NotFound(_))
                    if asked.elapsed() + pause < self.config.missing_patience =>
                {
                    sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(explain(&location.key, &error)),
                Ok(object) => return Ok(object),
            }
        }
    }

    async fn attempt(
        &self,
        location: &Location,
        key: BlockKey,
        range: Range<u32>,
    ) -> Result<Object, ObjectError> {
        let store = location.store.as_ref().unwrap_or(&self.store);
        let wanted = (range.end - range.start) as usize;
        let object = store
            .get(&location.key, object_range(location, key, range))
            .await?;
        if object.len() == wanted {
            return Ok(object);
        }
        let reason = format!("{} bytes came where {wanted} should be", object.len());
        Err(ObjectError::Corrupt {
            key: location.key.clone(),
            reason,
        })
    }
}

/// The bytes of the object that are bytes `range` of the block; `None` is all.
fn object_range(location: &Location, key: BlockKey, range: Range<u32>) -> Option<Range<u64>> {
    let whole = range == (0..key.size);
    match &location.range {
        None if whole => None,
        None => Some(u64::from(range.start)..u64::from(range.end)),
        Some(within) => {
            Some(within.start + u64::from(range.start)..within.start + u64::from(range.end))
        }
    }
}

/// A store's error as a file system's.
pub(crate) fn explain(key: &str, error: &ObjectError) -> Error {
    match error {
        ObjectError::NotFound(_) => {
            Error::Io(format!("block {key} is missing in the object store"))
        }
        ObjectError::TimedOut { .. } => Error::TimedOut(format!("block {key}: {error}")),
        ObjectError::NoSpace(_) => Error::NoSpace,
        ObjectError::Denied(_)
        | ObjectError::NoBucket(_)
        | ObjectError::Unreachable(_)
        | ObjectError::Busy(_)
        | ObjectError::Corrupt { .. }
        | ObjectError::Other(_) => Error::Io(format!("block {key}: {error}")),
    }
}
