//! What a mount needs from time to time: heartbeats, and background work.

use std::{sync::Arc, time::Duration};

use carafe_api::MountArguments;
use carafe_meta::{Call, Meta, SessionInfo};
use carafe_state::Region;
use carafe_types::{Error, SessionId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::stack::Stack;

/// The running upkeep.
pub(super) struct Upkeep {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts heartbeats and, unless the mount's options say no, background work.
    pub(super) fn start(stack: &Stack, arguments: &MountArguments) -> Self {
        let stop = CancellationToken::new();
        let beats = Beats {
            meta: Arc::clone(&stack.meta),
            region: stack.region.clone(),
            session: stack.session,
            info: stack.info.clone(),
        };
        let beating = beats.run(arguments.options.heartbeat);
        let mut tasks = vec![until_stopped(&stop, beating)];
        if !arguments.options.no_bgjob && !arguments.read_only {
            let rounds =
                carafe_jobs::run_rounds(Arc::clone(&stack.meta), Arc::clone(&stack.objects));
            tasks.push(until_stopped(&stop, rounds));
        }
        Self { stop, tasks }
    }

    /// Ends it; a step under way is dropped, which every step allows.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "upkeep stopped by itself");
            }
        }
    }
}

fn until_stopped(
    stop: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.run_until_cancelled(work).await;
    })
}

/// What keeps the session alive.
struct Beats {
    meta: Arc<dyn Meta>,
    region: Region,
    session: SessionId,
    info: SessionInfo,
}

impl Beats {
    async fn run(self, period: Duration) {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.region.beat();
            self.region.trim();
            match self.meta.heartbeat(&self.call(), self.session).await {
                Ok(_) => {}
                Err(error @ Error::Stale(_)) => self.come_back(error).await,
                Err(error) => tracing::warn!(%error, "heartbeat"),
            }
        }
    }

    /// Others cleaned the session, since no heartbeat came through for a minute. The
    /// mount serves on, under its old id, as the peer's does: applications that hold no
    /// locks and no nameless files notice nothing. Those were given up with the session
    /// and do not come back: a file without a name that was open is gone, and a lock
    /// may be somebody else's by now.
    async fn come_back(&self, stale: Error) {
        let call = self.call();
        match self
            .meta
            .restore_session(&call, self.session, &self.info)
            .await
        {
            Ok(()) => {
                tracing::error!(%stale, "the session is back; locks and open files without a name were lost");
            }
            Err(error) => tracing::error!(%error, "the session is lost and does not come back"),
        }
    }

    fn call(&self) -> Call {
        Call {
            session: self.session,
            ..Call::internal()
        }
    }
}
