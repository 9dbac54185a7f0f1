//! Rounds and heartbeats as time goes by.

use std::{sync::Arc, time::Duration};

use carafe_meta::{Call, Meta};
use carafe_object::ObjectStore;
use carafe_types::{Error, Format, SessionId};
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

/// Keeps a session alive until cancelled: a heartbeat every `pause` (JuiceFS's is
/// 12 s; a session ends after five that were missed). Each gives the volume's setting
/// to `on_setting`. Ends with `Stale` when the session was cleaned by others or the
/// volume is another: the mount must stop. Other failures are tried again.
pub async fn heartbeat(
    meta: Arc<dyn Meta>,
    session: SessionId,
    pause: Duration,
    cancel: CancellationToken,
    mut on_setting: impl FnMut(Format) + Send,
) -> Result<(), Error> {
    let call = Call {
        session,
        ..Call::internal()
    };
    while cancel
        .run_until_cancelled(tokio::time::sleep(pause))
        .await
        .is_some()
    {
        match meta.heartbeat(&call, session).await {
            Ok(format) => on_setting(format),
            Err(Error::Stale(reason)) => return Err(Error::Stale(reason)),
            Err(error) => tracing::warn!(%session, %error, "a heartbeat failed"),
        }
    }
    Ok(())
}
