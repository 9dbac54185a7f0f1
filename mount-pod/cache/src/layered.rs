//! Several caches, one behind the other.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use carafe_types::BlockKey;

use crate::{BlockCache, CacheStats, Cached};

/// Asks each layer in turn, fastest first; the first that has a block answers.
#[derive(Debug)]
pub struct Layered {
    layers: Vec<Arc<dyn BlockCache>>,
}

impl Layered {
    /// A cache of these layers, fastest first.
    pub fn new(layers: Vec<Arc<dyn BlockCache>>) -> Self {
        Self { layers }
    }
}

#[async_trait]
impl BlockCache for Layered {
    async fn get(&self, key: BlockKey, range: Range<u32>) -> Option<Cached> {
        for layer in &self.layers {
            if let Some(found) = layer.get(key, range.clone()).await {
                return Some(found);
            }
        }
        None
    }

    fn insert(&self, key: BlockKey, parts: &[Bytes]) {
        self.layers
            .iter()
            .for_each(|layer| layer.insert(key, parts));
    }

    fn contains(&self, key: BlockKey) -> bool {
        self.layers.iter().any(|layer| layer.contains(key))
    }

    fn remove(&self, key: BlockKey) {
        self.layers.iter().for_each(|layer| layer.remove(key));
    }

    fn remove_damaged(&self, key: BlockKey) {
        self.layers
            .iter()
            .for_each(|layer| layer.remove_damaged(key));
    }

    /// Sums; a lookup that a later layer answered is its hit and the earlier ones' miss.
    fn stats(&self) -> CacheStats {
        self.layers
            .iter()
            .map(|layer| layer.stats())
            .fold(CacheStats::default(), CacheStats::plus)
    }
}
