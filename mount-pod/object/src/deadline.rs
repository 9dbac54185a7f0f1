//! A deadline for each request, which grows with what is moved.

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::timeout;

use crate::{
    Credentials, Object, ObjectError, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits,
};

/// How long one request may take: `floor`, and the time that its bytes take at
/// `slowest`, but never more than `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For a request without data.
    pub floor: Duration,
    /// Bytes a second below which a request is given up.
    pub slowest: u64,
    /// The longest that reads may take (`--get-timeout`).
    pub most_get: Duration,
    /// The longest that writes may take (`--put-timeout`).
    pub most_put: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let minute = Duration::from_mins(1);
        Self {
            floor: Duration::from_secs(8),
            slowest: 512 << 10,
            most_get: minute,
            most_put: minute,
        }
    }
}

impl Deadlines {
    fn of(&self, bytes: u64) -> Duration {
        self.floor + Duration::from_millis(bytes.saturating_mul(1000) / self.slowest.max(1))
    }
}

/// What a whole object is taken for whose size is not known: the largest block.
const UNKNOWN_SIZE: u64 = 16 << 20;

/// A store whose requests end in time, one way or the other.
#[derive(Debug)]
pub struct Bounded {
    inner: Arc<dyn ObjectStore>,
    deadlines: Deadlines,
}

impl Bounded {
    /// `inner` with deadlines.
    pub fn new(inner: Arc<dyn ObjectStore>, deadlines: Deadlines) -> Self {
        Self { inner, deadlines }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let late = |_| ObjectError::TimedOut {
            what: what.into(),
            millis: limit.as_millis() as u64,
        };
        timeout(limit, work).await.map_err(late)?
    }

    async fn briefly<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.within(self.deadlines.floor, what, work).await
    }
}

#[async_trait]
impl ObjectStore for Bounded {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn traits(&self) -> Traits {
        self.inner.traits()
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        let size = range
            .as_ref()
            .map_or(UNKNOWN_SIZE, |range| range.end.saturating_sub(range.start));
        let limit = self.deadlines.of(size).min(self.deadlines.most_get);
        self.within(limit, "get", self.inner.get(key, range)).await
    }

    async fn put(&self, key: &str, object: Object) -> Result<()> {
        let limit = self
            .deadlines
            .of(object.len() as u64)
            .min(self.deadlines.most_put);
        self.within(limit, "put", self.inner.put(key, object)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.briefly("delete", self.inner.delete(key)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.briefly("head", self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        self.within(
            self.deadlines.most_get,
            "list",
            self.inner.list(prefix, after, limit),
        )
        .await
    }

    async fn create(&self) -> Result<()> {
        self.briefly("create", self.inner.create()).await
    }

    fn reload(&self, credentials: &Credentials) -> Result<(), OpenError> {
        self.inner.reload(credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_request_gets_more_time() {
        let deadlines = Deadlines::default();
        assert_eq!(deadlines.of(0), deadlines.floor);
        assert_eq!(
            deadlines.of(4 << 20),
            deadlines.floor + Duration::from_secs(8)
        );
    }
}
