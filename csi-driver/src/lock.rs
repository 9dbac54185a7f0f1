//! Turns by key: calls about one volume come one after the other, calls about
//! different volumes at once.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::timeout,
};

/// How long the node's own disks and mounts may take, as a rule.
pub const KERNEL_PATIENCE: Duration = Duration::from_secs(20);

/// A set of locks that exist only while somebody wants them.
#[derive(Clone, Debug, Default)]
pub struct KeyedLock {
    locks: Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>,
}

/// One call's turn with a volume. Clones keep it: work that the kernel holds up longer
/// than its call lasts never meets the next call.
#[derive(Clone, Debug)]
pub struct Turn {
    _held: Arc<KeyGuard>,
}

/// Another call has not ended in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another call about volume {0} is still under way: it will be tried again")]
pub struct Busy(String);

/// Holds one key's lock, or waits for it, until it is dropped.
#[derive(Debug)]
struct KeyGuard {
    held: Option<OwnedMutexGuard<()>>,
    key: String,
    locks: KeyedLock,
}

impl KeyedLock {
    /// Waits for the key's turn. Cancel safe.
    pub async fn turn(&self, key: &str, patience: Duration) -> Result<Turn, Busy> {
        let lock = self.locks.lock().entry(key.to_owned()).or_default().clone();
        // Made before the wait: also who gives up takes the lock out of the set.
        let mut guard = KeyGuard {
            held: None,
            key: key.to_owned(),
            locks: self.clone(),
        };
        let held = timeout(patience, lock.lock_owned()).await;
        guard.held = Some(held.map_err(|_| Busy(key.to_owned()))?);
        Ok(Turn {
            _held: Arc::new(guard),
        })
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.locks.lock().len()
    }
}

impl Turn {
    /// Runs what may block in the kernel on a thread of its own. What takes longer than
    /// `patience` is answered as such, goes on, and keeps the turn until it ends.
    pub async fn aside<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.clone();
        aside(patience, move || {
            let done = work();
            drop(turn);
            done
        })
        .await
    }
}

/// As [`Turn::aside`], for what changes nothing.
pub async fn aside<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match timeout(patience, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(panicked)) => Err(io::Error::other(panicked)),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "the node's kernel did not answer within {} s",
                patience.as_secs()
            ),
        )),
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn calls_about_one_key_never_overlap_and_nothing_is_left() {
        let (locks, inside) = (KeyedLock::default(), Arc::new(AtomicU32::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (locks, inside) = (locks.clone(), inside.clone());
            tasks.spawn(async move {
                let _turn = locks.turn("volume", LONG).await.unwrap();
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
        let _one = locks.turn("one", LONG).await.unwrap();
        locks.turn("two", Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_and_leaves_nothing() {
        let locks = KeyedLock::default();
        let first = locks.turn("volume", LONG).await.unwrap();
        for _ in 0..3 {
            let late = locks.turn("volume", Duration::from_millis(10)).await;
            assert_eq!(late.unwrap_err(), Busy("volume".into()));
        }
        drop(first);
        assert_eq!(locks.len(), 0);
    }

    #[tokio::test]
    async fn what_the_kernel_holds_up_keeps_its_turn() {
        let locks = KeyedLock::default();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let turn = locks.turn("volume", LONG).await.unwrap();
        let hung = turn.aside(Duration::from_millis(10), move || {
            let _ = wait.recv();
            Ok(())
        });
        assert_eq!(hung.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(turn);
        assert!(
            locks
                .turn("volume", Duration::from_millis(10))
                .await
                .is_err()
        );
        go.send(()).unwrap();
        locks.turn("volume", LONG).await.unwrap();
    }
}
