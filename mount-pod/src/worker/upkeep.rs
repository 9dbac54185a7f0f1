//! What a mount needs from time to time: heartbeats, and background work.

use std::{sync::Arc, time::Duration};

use carafe_api::MountArguments;
use carafe_meta::{Call, Meta};
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
        let beating = beat(
            Arc::clone(&stack.meta),
            stack.region.clone(),
            stack.session,
            arguments.options.heartbeat,
        );
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

async fn beat(meta: Arc<dyn Meta>, region: Region, session: SessionId, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        region.beat();
        region.trim();
        match meta
            .heartbeat(
                &Call {
                    session,
                    ..Call::internal()
                },
                session,
            )
            .await
        {
            Ok(_) => {}
            Err(error @ Error::Stale(_)) => {
                tracing::error!(%error, "the session is lost: locks may be too");
            }
            Err(error) => tracing::warn!(%error, "heartbeat"),
        }
    }
}
