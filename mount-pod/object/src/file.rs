//! A directory as a store, as JuiceFS's `file` lays it out: an object's path is the
//! bucket followed by its key.
//!
//! A bucket that does not end with `/` is a prefix of names, which is what JuiceFS
//! makes of it. Objects are written beside their place and renamed into it, so that
//! a reader never sees half of one.

mod io;
mod list;

pub use io::is_unfinished;

use std::{ops::Range, path::PathBuf};

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use crate::{
    Credentials, Object, ObjectError, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits,
};

/// A store in a directory.
#[derive(Debug)]
pub struct File {
    bucket: String,
}

impl File {
    /// The store below `bucket`, a path as the setting has it.
    pub fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.strip_prefix("file://").unwrap_or(bucket).to_owned(),
        }
    }

    fn path(&self, key: &str) -> Result<PathBuf> {
        if key.split('/').any(|part| part == "..") {
            return Err(ObjectError::Other(format!(
                "the key {key:?} leaves the store"
            )));
        }
        Ok(PathBuf::from(format!("{}{key}", self.bucket)))
    }

    /// Runs `work` on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        match spawn_blocking(work).await {
            Ok(result) => result.map_err(|error| self.explain(key, &error)),
            Err(stopped) => Err(ObjectError::Other(stopped.to_string())),
        }
    }

    fn explain(&self, key: &str, error: &std::io::Error) -> ObjectError {
        let what = || format!("{}{key}: {error}", self.bucket);
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory => {
                ObjectError::NotFound(key.into())
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                ObjectError::Denied(what())
            }
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ObjectError::NoSpace(what())
            }
            std::io::ErrorKind::StaleNetworkFileHandle => ObjectError::Unreachable(what()),
            _ => ObjectError::Other(what()),
        }
    }
}

#[async_trait]
impl ObjectStore for File {
    fn describe(&self) -> String {
        format!("file://{}", self.bucket)
    }

    fn traits(&self) -> Traits {
        Traits {
            cheap_ranges: true,
            keeps_checksum: false,
        }
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        let path = self.path(key)?;
        self.run(key, move || io::read(&path, range))
            .await
            .map(Object::from)
    }

    async fn put(&self, key: &str, object: Object) -> Result<()> {
        let path = self.path(key)?;
        self.run(key, move || io::write(&path, &object.parts)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        match self.run(key, move || std::fs::remove_file(path)).await {
            Err(ObjectError::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        let path = self.path(key)?;
        let meta = self.run(key, move || std::fs::metadata(path)).await?;
        if meta.is_dir() {
            return Err(ObjectError::NotFound(key.into()));
        }
        Ok(list::describe(key.into(), &meta))
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        let mut walk = list::Walk::new(&self.bucket, prefix, after, limit);
        let found = self.run(prefix, move || walk.run()).await?;
        Ok(Page::cut(found, limit))
    }

    async fn create(&self) -> Result<()> {
        let directory = self.path("")?;
        self.run("", move || std::fs::create_dir_all(directory))
            .await
    }

    fn reload(&self, _: &Credentials) -> Result<(), OpenError> {
        Ok(())
    }
}
