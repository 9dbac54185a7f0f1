//! Several buckets as one store: an object's key chooses its bucket.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use futures_util::future::try_join_all;

use crate::{Credentials, Object, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits};

/// A store over several, which must all be there.
#[derive(Debug)]
pub struct Sharded {
    shards: Vec<Arc<dyn ObjectStore>>,
}

impl Sharded {
    /// A store over `shards`, of which there is at least one.
    pub fn new(shards: Vec<Arc<dyn ObjectStore>>) -> Self {
        Self { shards }
    }

    fn of(&self, key: &str) -> &Arc<dyn ObjectStore> {
        &self.shards[fnv1a(key.as_bytes()) as usize % self.shards.len()]
    }
}

/// 32-bit FNV-1a, by which JuiceFS chooses.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[async_trait]
impl ObjectStore for Sharded {
    fn describe(&self) -> String {
        format!(
            "{} shards from {} on",
            self.shards.len(),
            self.of("").describe()
        )
    }

    fn traits(&self) -> Traits {
        self.of("").traits()
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        self.of(key).get(key, range).await
    }

    async fn put(&self, key: &str, object: Object) -> Result<()> {
        self.of(key).put(key, object).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.of(key).delete(key).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.of(key).head(key).await
    }

    /// Each shard gives a page; of the merged ones only the first `limit` are sure to
    /// be without gaps.
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        let pages = try_join_all(
            self.shards
                .iter()
                .map(|shard| shard.list(prefix, after, limit)),
        )
        .await?;
        let more = pages.iter().any(|page| page.next.is_some());
        let mut objects: Vec<_> = pages.into_iter().flat_map(|page| page.objects).collect();
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let more = more || objects.len() > limit;
        objects.truncate(limit);
        let next = objects.last().filter(|_| more).map(|last| last.key.clone());
        Ok(Page { objects, next })
    }

    async fn create(&self) -> Result<()> {
        try_join_all(self.shards.iter().map(|shard| shard.create()))
            .await
            .map(drop)
    }

    fn reload(&self, credentials: &Credentials) -> Result<(), OpenError> {
        self.shards
            .iter()
            .try_for_each(|shard| shard.reload(credentials))
    }
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5, "the published offset basis");
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968, "a published vector");
    }
}
