//! A store in memory, for tests.

use std::{collections::BTreeMap, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;

use crate::{
    Credentials, Object, ObjectError, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits,
    store::clip,
};

/// A store that ends with the process.
#[derive(Debug, Default)]
pub struct Memory {
    objects: RwLock<BTreeMap<String, (Bytes, Option<u32>)>>,
}

impl Memory {
    /// Changes an object behind everybody's back, for tests of damage.
    pub fn damage(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some((bytes, _)) = self.objects.write().get_mut(key) {
            let mut changed = bytes.to_vec();
            change(&mut changed);
            *bytes = changed.into();
        }
    }
}

#[async_trait]
impl ObjectStore for Memory {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn traits(&self) -> Traits {
        Traits {
            cheap_ranges: true,
            keeps_checksum: true,
        }
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        let objects = self.objects.read();
        let (bytes, crc32c) = objects
            .get(key)
            .ok_or_else(|| ObjectError::NotFound(key.into()))?;
        Ok(Object {
            parts: vec![bytes.slice(clip(range, bytes.len()))],
            crc32c: *crc32c,
        })
    }

    /// Keeps a copy, as every store does: the caller's bytes may be pages of a pool
    /// that waits for them.
    async fn put(&self, key: &str, object: Object) -> Result<()> {
        let bytes = object.parts.concat().into();
        self.objects
            .write()
            .insert(key.into(), (bytes, object.crc32c));
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.objects.write().remove(key);
        Ok(())
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        let objects = self.objects.read();
        let (bytes, _) = objects
            .get(key)
            .ok_or_else(|| ObjectError::NotFound(key.into()))?;
        Ok(ObjectMeta {
            key: key.into(),
            size: bytes.len() as u64,
            modified: None,
        })
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        let objects = self.objects.read();
        let from = after.max(prefix).to_owned();
        let matching = objects
            .range(from..)
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let meta = |(key, (bytes, _)): (&String, &(Bytes, _))| ObjectMeta {
            key: key.clone(),
            size: bytes.len() as u64,
            modified: None,
        };
        Ok(Page::cut(matching.take(limit).map(meta).collect(), limit))
    }

    async fn create(&self) -> Result<()> {
        Ok(())
    }

    fn reload(&self, _: &Credentials) -> Result<(), OpenError> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn what_is_put_is_not_held() {
        struct Page {
            _held: Arc<()>,
        }
        impl AsRef<[u8]> for Page {
            fn as_ref(&self) -> &[u8] {
                b"page"
            }
        }
        let held = Arc::new(());
        let page = Bytes::from_owner(Page {
            _held: Arc::clone(&held),
        });
        let store = Memory::default();
        store.put("a", page.into()).await.unwrap();
        assert_eq!(Arc::strong_count(&held), 1, "the page is free again");
        assert_eq!(store.get("a", None).await.unwrap().into_bytes(), "page");
    }
}
