//! The worker as its parent sees it: a process and a socket, which is its standard input.

use std::{
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
};

use carafe_api::handover::{Channel, FromKeeper, FromPod, HandoverError, Link};
use tokio::process::{Child, Command};

use super::Held;
use crate::failure::Failure;

/// What a worker does.
pub(super) enum WorkerEvent {
    /// It says something; descriptors may come along.
    Said(FromPod, Vec<OwnedFd>),
    /// It has ended.
    Ended(ExitStatus),
}

/// A running worker.
pub(super) struct WorkerProcess {
    child: Child,
    link: Link,
    silent: bool,
}

impl WorkerProcess {
    /// Starts a worker and gives it duplicates of all that is held.
    pub(super) async fn start(held: &Held) -> Result<Self, Failure> {
        let (ours, theirs) = Channel::pair()?;
        let program = std::env::current_exe().map_err(Failure::system("find this program"))?;
        let child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::from(theirs.into_fd()))
            .kill_on_drop(false)
            .spawn()
            .map_err(Failure::system("start a worker"))?;
        let link = Link::new(ours.into_fd())?;
        let worker = Self {
            child,
            link,
            silent: false,
        };
        worker.attach(held).await?;
        Ok(worker)
    }

    async fn attach(&self, held: &Held) -> Result<(), Failure> {
        let mut attach = held.attach.clone();
        attach.descriptors = held.bundle.counts();
        let message = FromKeeper::Attach(Box::new(attach));
        self.link.send(&message, &held.bundle.borrowed()).await?;
        Ok(())
    }

    /// What the worker does next: it says something, or it ends. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<WorkerEvent, Failure> {
        loop {
            let Self {
                child,
                link,
                silent,
            } = self;
            tokio::select! {
                // What it said last is read before its end is.
                biased;
                said = link.receive(), if !*silent => match said {
                    Ok((message, fds)) => return Ok(WorkerEvent::Said(message, fds)),
                    Err(error) => {
                        if !matches!(error, HandoverError::Closed) {
                            tracing::warn!(%error, "the worker's socket failed");
                        }
                        *silent = true;
                    }
                },
                ended = child.wait() => return ended.map(WorkerEvent::Ended).map_err(Failure::system("wait for the worker")),
            }
        }
    }

    /// Passes a message on; a worker that has just ended needs none.
    pub(super) async fn tell(&self, message: &FromKeeper) -> Result<(), Failure> {
        match self.link.send(message, &[]).await {
            Ok(()) | Err(HandoverError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
