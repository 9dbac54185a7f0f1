//! The supervisor: holds a mount's descriptors and starts the worker that serves it.
//!
//! It has two upstreams, which say what a keeper says: the keeper itself (in a
//! pod), or the host, where the supervisor has mounted and unmounts by itself.
//! It has no data path and one thread; messages that are not its own business
//! pass through it in both directions.

mod background;
mod host;
mod pod;
mod worker_process;

use std::os::fd::OwnedFd;

use carafe_api::handover::{Attach, Bundle, FromKeeper, FromPod};

pub(crate) use background::{Readiness, start_in_background};
pub(crate) use host::{Host, process_file};
pub(crate) use pod::Pod;
use worker_process::{WorkerEvent, WorkerProcess};

use crate::failure::Failure;

/// What the mount is, and what of it this process holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) attach: Attach,
    pub(crate) bundle: Bundle,
    pub(crate) serving: bool,
    /// The worker has said itself why it cannot serve.
    pub(crate) explained: bool,
}

/// Whoever decides over the mount.
pub(crate) trait Upstream {
    /// The next thing that it says. Cancel safe.
    async fn next(&mut self, held: &Held) -> Result<FromKeeper, Failure>;
    /// Tells it what the worker says.
    async fn tell(&mut self, message: &FromPod, region: Option<&OwnedFd>) -> Result<(), Failure>;
}

/// Starts a worker and serves until the mount ends.
pub(crate) async fn supervise(mut upstream: impl Upstream, mut held: Held) -> Result<(), Failure> {
    let mut worker = WorkerProcess::start(&held).await?;
    loop {
        tokio::select! {
            event = worker.next() => match event? {
                WorkerEvent::Said(message, fds) => {
                    let region = held.learn(&message, fds);
                    upstream.tell(&message, held.bundle.region.as_ref().filter(|_| region)).await?;
                }
                WorkerEvent::Ended(status) => return farewell(status, &held, &mut upstream).await,
            },
            order = upstream.next(&held) => {
                let order = order?;
                held.obey(&order);
                worker.tell(&order).await?;
            }
        }
    }
}

/// A worker ends by itself only when the mount has ended. A worker that was
/// killed leaves its state with the holders; nobody serves until they act.
async fn farewell(
    status: std::process::ExitStatus,
    held: &Held,
    upstream: &mut impl Upstream,
) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let reason = format!(
        "the worker of {} ended: {status}",
        held.attach.arguments.mount_point
    );
    // Its own words say more than its exit status.
    if !held.explained {
        let failed = FromPod::Failed {
            reason: reason.clone(),
            lasting: false,
        };
        upstream.tell(&failed, None).await?;
    }
    Err(Failure::Mount(reason))
}

impl Held {
    /// Notes what a worker says; `true` if a region came.
    fn learn(&mut self, message: &FromPod, fds: Vec<OwnedFd>) -> bool {
        match message {
            FromPod::Region => {
                self.bundle.region = fds.into_iter().next();
                return true;
            }
            FromPod::InitDone { blob } => self.attach.init = Some(blob.clone()),
            FromPod::Ready => self.serving = true,
            FromPod::Failed { .. } => (self.serving, self.explained) = (false, true),
            // One that has released serves on until it is told to end.
            FromPod::Released
            | FromPod::Hello(_)
            | FromPod::Pong { .. }
            | FromPod::Stats { .. }
            | FromPod::Unknown => {}
        }
        false
    }

    /// Notes what the upstream says.
    fn obey(&mut self, order: &FromKeeper) {
        if let FromKeeper::Secret { secret } = order {
            self.attach.secret = (**secret).clone();
        }
    }
}
