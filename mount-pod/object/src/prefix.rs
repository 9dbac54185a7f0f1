//! The volume's name before each key.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;

use crate::{Credentials, Object, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits};

/// A store whose keys begin with a prefix that its users do not see.
#[derive(Debug)]
pub struct Prefixed {
    inner: Arc<dyn ObjectStore>,
    prefix: String,
}

impl Prefixed {
    /// The part of `inner` below `prefix`, which should end with `/`.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: impl Into<String>) -> Self {
        Self {
            inner,
            prefix: prefix.into(),
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn strip(&self, key: &str) -> String {
        key.strip_prefix(&self.prefix).unwrap_or(key).to_owned()
    }

    fn strip_meta(&self, mut meta: ObjectMeta) -> ObjectMeta {
        meta.key = self.strip(&meta.key);
        meta
    }
}

#[async_trait]
impl ObjectStore for Prefixed {
    fn describe(&self) -> String {
        format!("{}{}", self.inner.describe(), self.prefix)
    }

    fn traits(&self) -> Traits {
        self.inner.traits()
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        self.inner.get(&self.key(key), range).await
    }

    async fn put(&self, key: &str, object: Object) -> Result<()> {
        self.inner.put(&self.key(key), object).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(&self.key(key)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        Ok(self.strip_meta(self.inner.head(&self.key(key)).await?))
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        let after = if after.is_empty() {
            String::new()
        } else {
            self.key(after)
        };
        let page = self.inner.list(&self.key(prefix), &after, limit).await?;
        let objects = page
            .objects
            .into_iter()
            .map(|meta| self.strip_meta(meta))
            .collect();
        Ok(Page {
            objects,
            next: page.next.map(|next| self.strip(&next)),
        })
    }

    async fn create(&self) -> Result<()> {
        self.inner.create().await
    }

    fn reload(&self, credentials: &Credentials) -> Result<(), OpenError> {
        self.inner.reload(credentials)
    }
}
