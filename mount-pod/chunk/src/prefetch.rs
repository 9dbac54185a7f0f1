//! Blocks that are fetched before they are asked for.

use std::sync::Arc;

use carafe_types::BlockKey;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use crate::{fetch::Fetcher, flight::Flights};

/// Begins prefetches, within a bound.
#[derive(Debug)]
pub(crate) struct Prefetcher {
    runtime: Option<Handle>,
    room: Arc<Semaphore>,
}

impl Prefetcher {
    pub(crate) fn new(at_once: usize) -> Self {
        Self {
            runtime: Handle::try_current().ok(),
            room: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// Begins to fetch `keys`, as many as there is room for.
    pub(crate) fn begin(
        &self,
        fetcher: &Arc<Fetcher>,
        flights: &Flights,
        keys: impl Iterator<Item = BlockKey>,
    ) -> Prefetch {
        let mut prefetch = Prefetch::default();
        let Some(runtime) = &self.runtime else {
            return prefetch;
        };
        for key in keys.filter(|key| !fetcher.cache.contains(*key) && !flights.has(*key)) {
            let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
                break;
            };
            prefetch.tasks.spawn_on(
                fetch(Arc::clone(fetcher), flights.clone(), key, permit),
                runtime,
            );
        }
        prefetch
    }
}

async fn fetch(
    fetcher: Arc<Fetcher>,
    flights: Flights,
    key: BlockKey,
    _room: OwnedSemaphorePermit,
) {
    if let Err(error) = flights.join(key, fetcher.whole(key)).await {
        // Whoever needs the block asks again and hears of it.
        tracing::debug!(%key, %error, "a prefetch failed");
    }
}

/// Blocks on their way into the cache; dropping it stops those that nobody else
/// waits for.
#[must_use = "a prefetch stops when it is dropped"]
#[derive(Debug, Default)]
pub struct Prefetch {
    tasks: JoinSet<()>,
}

impl Prefetch {
    /// How many blocks are still on their way.
    pub fn under_way(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }

    /// Waits until all have come or failed.
    pub async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
