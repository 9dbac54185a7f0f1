//! Asking again when a request failed in a way that may pass.

use std::{
    future::Future,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    Credentials, Object, ObjectError, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits,
};

/// How often and how long a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times at most (`--io-retries`), the first included.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// When it is given up, counted from the first attempt's start.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 30,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
            deadline: Duration::from_mins(2),
        }
    }
}

impl RetryPolicy {
    /// The pause after failure number `failures` (from 1 on): half of it is chance, so
    /// that clients that failed together do not come back together.
    fn pause(&self, failures: u32, chance: f64) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.longest_pause).mul_f64(0.5 + chance / 2.0)
    }
}

/// A store that is patient with the one below.
#[derive(Debug)]
pub struct Retrying {
    inner: Arc<dyn ObjectStore>,
    policy: RetryPolicy,
    /// A request has succeeded. From then on a refusal of credentials is taken for a
    /// rotation under way, and patience applies to it too.
    proven: AtomicBool,
}

impl Retrying {
    /// `inner`, retried as `policy` says.
    pub fn new(inner: Arc<dyn ObjectStore>, policy: RetryPolicy) -> Self {
        Self {
            inner,
            policy,
            proven: AtomicBool::new(false),
        }
    }

    async fn patiently<T, F: Future<Output = Result<T>>>(
        &self,
        what: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T> {
        let until = Instant::now() + self.policy.deadline;
        let mut failures = 0;
        loop {
            let late = ObjectError::TimedOut {
                what: what.into(),
                millis: self.policy.deadline.as_millis() as u64,
            };
            let error = match timeout_at(until, attempt()).await.unwrap_or(Err(late)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failures += 1;
            let pause = self.policy.pause(failures, rand::random());
            if !self.may_pass(&error)
                || failures >= self.policy.attempts
                || Instant::now() + pause >= until
            {
                return Err(error);
            }
            tracing::debug!(what, failures, %error, "a request to the store failed and is sent again");
            sleep(pause).await;
        }
    }

    fn may_pass(&self, error: &ObjectError) -> bool {
        let rotating =
            matches!(error, ObjectError::Denied(_)) && self.proven.load(Ordering::Relaxed);
        error.is_temporary() || rotating
    }

    fn proven<T>(&self, answer: T) -> T {
        self.proven.store(true, Ordering::Relaxed);
        answer
    }
}

#[async_trait]
impl ObjectStore for Retrying {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn traits(&self) -> Traits {
        self.inner.traits()
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        self.patiently("get", || self.inner.get(key, range.clone()))
            .await
            .map(|object| self.proven(object))
    }

    async fn put(&self, key: &str, object: Object) -> Result<()> {
        self.patiently("put", || self.inner.put(key, object.clone()))
            .await
            .map(|()| self.proven(()))
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.patiently("delete", || self.inner.delete(key)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.patiently("head", || self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        self.patiently("list", || self.inner.list(prefix, after, limit))
            .await
    }

    async fn create(&self) -> Result<()> {
        self.patiently("create", || self.inner.create()).await
    }

    fn reload(&self, credentials: &Credentials) -> Result<(), OpenError> {
        self.inner.reload(credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.pause(1, 1.0), Duration::from_millis(50));
        assert_eq!(policy.pause(1, 0.0), Duration::from_millis(25));
        assert_eq!(policy.pause(3, 1.0), Duration::from_millis(200));
        assert_eq!(policy.pause(60, 1.0), policy.longest_pause);
    }
}
