//! Rounds as time goes by.

use std::{sync::Arc, time::Duration};

use carafe_meta::Meta;
use carafe_object::ObjectStore;
use tokio_util::sync::CancellationToken;

use crate::{Budget, Jobs};

/// How often rounds are done.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// From the end of one round to the start of the next.
    pub pause: Duration,
    /// What each may do.
    pub budget: Budget,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            pause: Duration::from_mins(1),
            budget: Budget::default(),
        }
    }
}

impl Jobs {
    /// Does rounds until cancelled. A round that left something is followed by the
    /// next at once.
    pub async fn run(&self, schedule: Schedule, cancel: CancellationToken) {
        while cancel
            .run_until_cancelled(tokio::time::sleep(schedule.pause))
            .await
            .is_some()
        {
            while self.round(schedule.budget, &cancel).await.more && !cancel.is_cancelled() {}
        }
    }
}

/// Does rounds as usual until it is dropped, which is allowed at any time.
pub async fn run_rounds(meta: Arc<dyn Meta>, objects: Arc<dyn ObjectStore>) {
    Jobs::new(meta, objects)
        .run(Schedule::default(), CancellationToken::new())
        .await;
}
