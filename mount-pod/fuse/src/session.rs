//! The session: threads that read requests, and the answers' way back.
//!
//! A request's **future** is polled once by the thread that read it, so that what
//! memory can answer needs no other thread; one that must wait moves to the
//! runtime, and the thread reads on. Slots bound how many are under way.

mod caught;
mod interrupt;
mod reader;
mod transport;
mod wake;

use std::{os::fd::OwnedFd, sync::Arc, thread::JoinHandle, time::Duration};

use carafe_state::{Region, StateError};
use carafe_vfs::Vfs;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::task::TaskTracker;

use crate::{Notifier, adapter::Adapter};
use interrupt::Interrupts;
use transport::Transport;
use wake::Wake;

/// How a session works.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Threads that read requests.
    pub threads: usize,
    /// The kernel collects small writes. Fixed for the mount's life.
    pub writeback_cache: bool,
    /// POSIX access control lists. Fixed for the mount's life.
    pub acls: bool,
    /// How many background requests (read-ahead, write-back) the kernel sends at once.
    /// Fixed for the mount's life.
    pub max_background: u16,
    /// How long [`Session::stop`] waits for requests that were begun.
    pub stop_patience: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            threads: (cores * 2).clamp(4, 16),
            writeback_cache: false,
            acls: false,
            max_background: 64,
            stop_patience: Duration::from_secs(30),
        }
    }
}

/// Why a session cannot be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// No descriptor was given.
    #[error("there is no FUSE device to serve")]
    NoDevice,
    /// The kernel speaks an older protocol.
    #[error("the kernel's FUSE protocol is too old: Linux 5.4 is the oldest that works")]
    Protocol,
    /// Shared memory cannot hold what was agreed.
    #[error("the state region: {0}")]
    State(Arc<StateError>),
    /// The system refused a thread or a descriptor.
    #[error("{0}: {1}")]
    System(&'static str, Arc<std::io::Error>),
    /// The session ended before the kernel said what it wants.
    #[error("the mount ended before it was served")]
    Ended,
}

/// Where the session stands.
#[derive(Clone, Debug)]
enum Stage {
    Waiting,
    Serving(Arc<[u8]>),
    Ended(Result<(), SessionError>),
}

/// A running session. Dropping it does not end it: see [`Session::stop`].
pub struct Session {
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What reader threads and futures share.
struct Shared {
    transport: Transport,
    region: Region,
    adapter: Adapter,
    interrupts: Interrupts,
    stage: watch::Sender<Stage>,
    wake: Wake,
    runtime: Handle,
    tasks: TaskTracker,
    config: SessionConfig,
}

impl Session {
    /// Begins to read from the devices: the first is the device itself, others are
    /// its clones. With a region that knows an INIT already, what its slots hold is
    /// answered first. `notifier` lives as long as the session.
    pub fn start(
        devices: Vec<OwnedFd>,
        region: Region,
        vfs: Arc<Vfs>,
        notifier: Arc<Notifier>,
        runtime: Handle,
        config: SessionConfig,
    ) -> Result<Self, SessionError> {
        let known = region.init().map(Arc::<[u8]>::from);
        let first = known.map_or(Stage::Waiting, Stage::Serving);
        let (sender, stage) = watch::channel(first);
        let shared = Arc::new(Shared {
            transport: Transport::new(devices)?,
            adapter: Adapter::new(vfs, Arc::clone(&notifier), region.session()),
            region,
            interrupts: Interrupts::default(),
            stage: sender,
            wake: Wake::new()?,
            runtime,
            tasks: TaskTracker::new(),
            config,
        });
        if let Some(init) = shared.region.init() {
            shared.adapter.agree(&init);
        }
        reader::answer_leftovers(&shared);
        let threads = (0..shared.config.threads)
            .map(|number| reader::spawn(&shared, number))
            .collect::<Result<_, _>>()?;
        // The notifier's queue must outlive every request that may post to it.
        shared
            .tasks
            .spawn_on(hold(notifier, shared.stage.subscribe()), &shared.runtime);
        Ok(Self {
            shared,
            stage,
            threads: Mutex::new(threads),
        })
    }

    /// What was agreed with the kernel, as soon as it is.
    pub async fn negotiated(&self) -> Result<Vec<u8>, SessionError> {
        let mut stage = self.stage.clone();
        let stage = stage
            .wait_for(|stage| !matches!(stage, Stage::Waiting))
            .await
            .map_err(|_| SessionError::Ended)?;
        match &*stage {
            Stage::Serving(blob) => Ok(blob.to_vec()),
            Stage::Ended(Err(error)) => Err(error.clone()),
            Stage::Ended(Ok(())) | Stage::Waiting => Err(SessionError::Ended),
        }
    }

    /// Waits until the kernel has unmounted. Cancel safe.
    pub async fn ended(&self) -> Result<(), SessionError> {
        let mut stage = self.stage.clone();
        match stage
            .wait_for(|stage| matches!(stage, Stage::Ended(_)))
            .await
            .as_deref()
        {
            Ok(Stage::Ended(result)) => result.clone(),
            _ => Ok(()),
        }
    }

    /// Stops reading, and finishes what was begun. The kernel keeps what comes
    /// later for a successor; requests that wait for a lock stay in their slots for it.
    pub async fn stop(&self) {
        self.shared.wake.all();
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined = tokio::task::spawn_blocking(move || {
            // A thread that panicked is as much at its end as the others.
            for thread in threads {
                drop(thread.join());
            }
        });
        if joined.await.is_err() {
            tracing::error!("a reader thread panicked");
        }
        self.shared.interrupts.abandon();
        self.shared.end(Ok(()));
        self.shared.tasks.close();
        if tokio::time::timeout(self.shared.config.stop_patience, self.shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("requests are still under way: they stay in their slots");
        }
    }
}

async fn hold(notifier: Arc<Notifier>, mut stage: watch::Receiver<Stage>) {
    let _ended = stage
        .wait_for(|stage| matches!(stage, Stage::Ended(_)))
        .await
        .is_ok();
    drop(notifier);
}

impl Shared {
    fn end(&self, how: Result<(), SessionError>) {
        self.stage.send_if_modified(|stage| {
            let first = !matches!(stage, Stage::Ended(_));
            if first {
                *stage = Stage::Ended(how);
            }
            first
        });
    }
}
