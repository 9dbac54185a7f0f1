//! Locks by key: calls about one volume come one after the other, calls about
//! different volumes at once.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// A set of locks that exist only while somebody wants them.
#[derive(Clone, Debug, Default)]
pub struct KeyedLock {
    locks: Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>,
}

/// Holds one key's lock until it is dropped.
#[derive(Debug)]
pub struct KeyGuard {
    held: Option<OwnedMutexGuard<()>>,
    key: String,
    locks: KeyedLock,
}

impl KeyedLock {
    /// Waits for the key's turn. Cancel safe.
    pub async fn lock(&self, key: &str) -> KeyGuard {
        let lock = self.locks.lock().entry(key.to_owned()).or_default().clone();
        let held = lock.lock_owned().await;
        KeyGuard {
            held: Some(held),
            key: key.to_owned(),
            locks: self.clone(),
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.locks.lock().len()
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        let mut locks = self.locks.locks.lock();
        self.held = None;
        // Under the map's lock nobody can take another reference: one left is the map's.
        if locks
            .get(&self.key)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn calls_about_one_key_never_overlap_and_nothing_is_left() {
        let (locks, inside) = (KeyedLock::default(), Arc::new(AtomicU32::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (locks, inside) = (locks.clone(), inside.clone());
            tasks.spawn(async move {
                let _guard = locks.lock("volume").await;
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(locks.len(), 0);
    }

    #[tokio::test]
    async fn other_keys_do_not_wait() {
        let locks = KeyedLock::default();
        let _one = locks.lock("one").await;
        tokio::time::timeout(Duration::from_secs(1), locks.lock("two"))
            .await
            .unwrap();
    }
}
