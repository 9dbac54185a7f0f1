//! One fetch of a block at a time, shared by all who want it.
//!
//! A flight goes on while somebody waits for it and ends when the last one leaves.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use carafe_object::Object;
use carafe_types::{BlockKey, Result};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;

type Flight = Shared<BoxFuture<'static, Result<Object>>>;
type WeakFlight = WeakShared<BoxFuture<'static, Result<Object>>>;

/// The flights under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flights {
    under_way: Arc<Mutex<HashMap<BlockKey, (u64, WeakFlight)>>>,
    next: Arc<AtomicU64>,
}

impl Flights {
    /// Joins the flight of `key`, or begins one with `fetch`.
    pub(crate) fn join(
        &self,
        key: BlockKey,
        fetch: impl Future<Output = Result<Object>> + Send + 'static,
    ) -> impl Future<Output = Result<Object>> + Send + 'static {
        let mut under_way = self.under_way.lock();
        if let Some(flight) = under_way.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let landing = Landing {
            flights: self.clone(),
            key,
            number,
        };
        let flight: Flight = async move {
            let _landing = landing;
            fetch.await
        }
        .boxed()
        .shared();
        if let Some(weak) = flight.downgrade() {
            under_way.insert(key, (number, weak));
        }
        flight
    }

    /// Whether the block is on its way.
    pub(crate) fn has(&self, key: BlockKey) -> bool {
        self.under_way.lock().contains_key(&key)
    }
}

/// Takes a flight from the list when it ends, however it ends.
struct Landing {
    flights: Flights,
    key: BlockKey,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock();
        // A later flight of the same block may stand there already.
        if under_way
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            under_way.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use carafe_types::SliceId;
    use tokio::sync::Notify;

    use super::*;

    const KEY: BlockKey = BlockKey {
        slice: SliceId(1),
        index: 0,
        size: 1,
    };

    #[tokio::test]
    async fn all_who_ask_share_one_fetch() {
        let (flights, fetched, go) = (
            Flights::default(),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(Notify::new()),
        );
        let join = || {
            let (fetched, go) = (Arc::clone(&fetched), Arc::clone(&go));
            flights.join(KEY, async move {
                fetched.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                Ok(Bytes::from_static(b"x").into())
            })
        };
        let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(join())).collect();
        tokio::task::yield_now().await;
        go.notify_one();
        for one in waiting {
            assert_eq!(one.await.unwrap().unwrap().into_bytes(), "x");
        }
        assert_eq!(fetched.load(Ordering::Relaxed), 1, "one fetch for ten");
        assert!(!flights.has(KEY), "it has landed");
    }

    #[tokio::test]
    async fn it_ends_when_the_last_one_leaves() {
        let flights = Flights::default();
        let (first, second) = (
            flights.join(KEY, std::future::pending()),
            flights.join(KEY, std::future::pending()),
        );
        drop(first);
        assert!(flights.has(KEY), "one still waits");
        drop(second);
        assert!(!flights.has(KEY), "nobody waits");
    }
}
