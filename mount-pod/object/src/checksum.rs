//! A CRC32C beside each object, checked whenever an object is read whole.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;

use crate::{
    Credentials, Object, ObjectError, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits,
};

/// A store that answers damaged objects with [`ObjectError::Corrupt`]. Objects without a
/// checksum (of other writers) are taken as they are.
#[derive(Debug)]
pub struct Checksummed {
    inner: Arc<dyn ObjectStore>,
}

impl Checksummed {
    /// `inner`, checked, if it can keep checksums.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner }
    }
}

fn verify(key: &str, object: &Object) -> Result<()> {
    let Some(stored) = object.crc32c else {
        return Ok(());
    };
    let found = object.checksum();
    if found == stored {
        return Ok(());
    }
    let reason = format!("its CRC32C is {found}, written was {stored}");
    Err(ObjectError::Corrupt {
        key: key.into(),
        reason,
    })
}

#[async_trait]
impl ObjectStore for Checksummed {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn traits(&self) -> Traits {
        self.inner.traits()
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        let whole = range.is_none();
        let object = self.inner.get(key, range).await?;
        if whole {
            verify(key, &object)?;
        }
        Ok(object)
    }

    async fn put(&self, key: &str, mut object: Object) -> Result<()> {
        if self.inner.traits().keeps_checksum {
            object.crc32c = Some(object.checksum());
        }
        self.inner.put(key, object).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        self.inner.list(prefix, after, limit).await
    }

    async fn create(&self) -> Result<()> {
        self.inner.create().await
    }

    fn reload(&self, credentials: &Credentials) -> Result<(), OpenError> {
        self.inner.reload(credentials)
    }
}
