//! One kept mount.

use std::{
    collections::HashMap,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use carafe_api::{
    MountArguments, VolumeSecret,
    handover::{Attach, Bundle, FromKeeper, Hello, Listener, PROTOCOL, Usage},
};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::session;

/// How far a mount's client has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No client has connected yet, or it is gone and another is expected.
    Waiting,
    /// A client has the descriptors and is not ready.
    Attached,
    /// A worker serves.
    Ready,
    /// No worker can serve.
    Failed {
        /// As the client says it.
        reason: String,
    },
    /// Nothing is dirty; the mount can go.
    Released,
}

/// Why a mount is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// The client says so.
    #[error("{0}")]
    Failed(String),
    /// Nothing was heard in time.
    #[error("the mount pod {0}")]
    TimedOut(&'static str),
}

/// A mount and what its clients need in turn.
#[derive(Debug)]
pub struct Kept {
    volume: String,
    staging: PathBuf,
    pod: String,
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
    server: Mutex<Option<Server>>,
}

/// The task that answers one pod's connections.
#[derive(Debug)]
struct Server {
    pod_uid: String,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    bundle: Bundle,
    init: Option<Vec<u8>>,
    arguments: MountArguments,
    secret: VolumeSecret,
    epoch: u64,
    releasing: bool,
    peer: Option<mpsc::UnboundedSender<FromKeeper>>,
    questions: HashMap<u64, oneshot::Sender<Usage>>,
    next_question: u64,
}

impl Kept {
    /// A mount that was just made.
    pub fn new(
        staging: PathBuf,
        pod: String,
        arguments: MountArguments,
        secret: VolumeSecret,
        bundle: Bundle,
    ) -> Arc<Self> {
        let volume = arguments.volume.clone();
        Self::with(
            volume,
            staging,
            pod,
            State {
                bundle,
                arguments,
                secret,
                ..State::default()
            },
        )
    }

    /// A mount that another life of this plugin made: empty until its pod gives
    /// back what it holds.
    pub fn empty(volume: String, staging: PathBuf, pod: String) -> Arc<Self> {
        Self::with(volume, staging, pod, State::default())
    }

    fn with(volume: String, staging: PathBuf, pod: String, state: State) -> Arc<Self> {
        let (phase, _) = watch::channel(Phase::Waiting);
        let (state, server) = (Mutex::new(state), Mutex::new(None));
        Arc::new(Self {
            volume,
            staging,
            pod,
            state,
            phase,
            server,
        })
    }

    /// The volume's id.
    pub fn volume(&self) -> &str {
        &self.volume
    }

    /// Where it is staged.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// The mount pod's name.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Whether the descriptors are here.
    pub fn is_held(&self) -> bool {
        self.state.lock().bundle.device.is_some()
    }

    /// Whether a client is connected.
    pub fn is_connected(&self) -> bool {
        self.state.lock().peer.is_some()
    }

    /// How far the client has come.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Answers who connects to `listener`, which lies in that pod, until the mount
    /// is forgotten or another pod is served.
    pub fn serve(self: &Arc<Self>, listener: Listener, pod_uid: String) {
        let task = tokio::spawn(session::serve(Arc::downgrade(self), listener));
        *self.server.lock() = Some(Server {
            pod_uid,
            _task: AbortOnDropHandle::new(task),
        });
    }

    /// The uid of the pod whose socket is listened on.
    pub fn served_pod(&self) -> Option<String> {
        self.server
            .lock()
            .as_ref()
            .map(|server| server.pod_uid.clone())
    }

    /// Waits until the descriptors are here: after a restart, until the pod has
    /// given them back. Answers whether they are.
    pub async fn wait_held(&self, patience: Duration) -> bool {
        let mut phase = self.phase.subscribe();
        let held = async {
            while !self.is_held() {
                if phase.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(patience, held).await.is_ok() && self.is_held()
    }

    /// Waits until a worker serves.
    pub async fn wait_ready(&self, patience: Duration) -> Result<(), NotServed> {
        match self
            .wait_phase(patience, |phase| *phase == Phase::Ready)
            .await
        {
            Some(Phase::Failed { reason }) => Err(NotServed::Failed(reason)),
            Some(_) => Ok(()),
            None => Err(NotServed::TimedOut(self.progress())),
        }
    }

    fn progress(&self) -> &'static str {
        match self.phase() {
            Phase::Waiting => {
                "has not connected yet: its image is being pulled, or it does not start"
            }
            Phase::Attached => {
                "has connected and is not ready yet: the metadata engine or the store is slow to answer"
            }
            Phase::Ready | Phase::Failed { .. } | Phase::Released => "is changing its state",
        }
    }

    /// Waits for the phase, or a failure; `None` after `patience`.
    async fn wait_phase(
        &self,
        patience: Duration,
        done: impl Fn(&Phase) -> bool + Send,
    ) -> Option<Phase> {
        let mut phase = self.phase.subscribe();
        let reached = phase.wait_for(|phase| done(phase) || matches!(phase, Phase::Failed { .. }));
        let reached = timeout(patience, reached).await;
        reached.ok()?.ok().map(|phase| phase.clone())
    }

    /// Passes a changed secret to the client. Answers whether it was another one.
    pub fn rotate(&self, secret: &VolumeSecret) -> bool {
        let mut state = self.state.lock();
        if state.bundle.device.is_none() || state.secret.fingerprint() == secret.fingerprint() {
            return false;
        }
        state.secret = secret.clone();
        state.tell(FromKeeper::Secret {
            secret: Box::new(secret.clone()),
        });
        true
    }

    /// Asks the client how full the volume is; `None` if it does not answer in time.
    pub async fn usage(&self, patience: Duration) -> Option<Usage> {
        let answer = self.state.lock().ask()?;
        timeout(patience, answer).await.ok()?.ok()
    }

    /// Asks the client to commit all that was written, and waits until it has.
    pub async fn release(&self, patience: Duration) -> Result<(), NotServed> {
        if self.phase() != Phase::Released {
            let mut state = self.state.lock();
            state.releasing = true;
            state.tell(FromKeeper::Release);
        }
        match self
            .wait_phase(patience, |phase| *phase == Phase::Released)
            .await
        {
            Some(Phase::Failed { reason }) => Err(NotServed::Failed(reason)),
            Some(_) => Ok(()),
            None if !self.is_connected() => Err(NotServed::TimedOut(
                "is not there to write back what it holds",
            )),
            None => Err(NotServed::TimedOut(
                "has not written back all that it holds yet",
            )),
        }
    }

    /// The kernel has unmounted: closes the descriptors, tells the client to end,
    /// and waits until it has closed the connection. Answers whether it did.
    pub async fn end(&self, patience: Duration) -> bool {
        {
            let mut state = self.state.lock();
            state.bundle = Bundle::default();
            state.tell(FromKeeper::End);
        }
        let mut phase = self.phase.subscribe();
        let gone = async {
            while self.is_connected() {
                if phase.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(patience, gone).await.is_ok()
    }

    /// Closes the descriptors and the socket.
    pub(super) fn forget(&self) {
        *self.server.lock() = None;
        *self.state.lock() = State::default();
    }

    // What a session reports.

    /// Takes what the pod gives back, if nothing is held, and answers what it gets.
    pub(super) fn attach(
        &self,
        hello: Hello,
        given: Bundle,
    ) -> std::io::Result<Option<(Attach, Bundle)>> {
        let mut state = self.state.lock();
        let pod_holds = given.device.is_some();
        if pod_holds && state.bundle.device.is_none() {
            state.adopt(hello.attached.map(|attached| *attached), given, hello.epoch);
        }
        if state.bundle.device.is_none() {
            return Ok(None);
        }
        let bundle = if pod_holds {
            Bundle::default()
        } else {
            state.epoch += 1;
            state.bundle.duplicate()?
        };
        let attach = Attach {
            protocol: PROTOCOL.min(hello.protocol.max(1)),
            epoch: state.epoch,
            arguments: state.arguments.clone(),
            secret: state.secret.clone(),
            init: state.init.clone(),
            descriptors: bundle.counts(),
        };
        drop(state);
        self.set_phase(if pod_holds && hello.serving {
            Phase::Ready
        } else {
            Phase::Attached
        });
        Ok(Some((attach, bundle)))
    }

    pub(super) fn connected(&self, peer: mpsc::UnboundedSender<FromKeeper>) {
        let mut state = self.state.lock();
        state.peer = Some(peer);
        if state.releasing {
            state.tell(FromKeeper::Release);
        }
    }

    /// A client is gone. What it said of itself is no longer true, but a failure
    /// stays to be read, and what was released stays so.
    pub(super) fn disconnected(&self) {
        {
            let mut state = self.state.lock();
            state.peer = None;
            state.questions.clear();
        }
        self.phase.send_modify(|phase| {
            if matches!(phase, Phase::Attached | Phase::Ready) {
                *phase = Phase::Waiting;
            }
        });
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(super) fn set_region(&self, region: std::os::fd::OwnedFd) {
        self.state.lock().bundle.region = Some(region);
    }

    pub(super) fn set_init(&self, blob: Vec<u8>) {
        self.state.lock().init = Some(blob);
    }

    pub(super) fn answered(&self, id: u64, usage: Usage) {
        if let Some(question) = self.state.lock().questions.remove(&id) {
            // Whoever asked may have stopped waiting.
            let _ = question.send(usage);
        }
    }
}

impl State {
    fn adopt(&mut self, attached: Option<Attach>, given: Bundle, epoch: u64) {
        let attached = attached.unwrap_or_default();
        self.bundle = given;
        self.init = attached.init;
        self.arguments = attached.arguments;
        self.secret = attached.secret;
        self.epoch = self.epoch.max(epoch).max(attached.epoch);
    }

    fn tell(&self, message: FromKeeper) {
        if let Some(peer) = &self.peer {
            // A client that just went gets it with its next attachment, or not at all.
            let _ = peer.send(message);
        }
    }

    fn ask(&mut self) -> Option<oneshot::Receiver<Usage>> {
        self.peer.as_ref()?;
        self.next_question += 1;
        let id = self.next_question;
        let (question, answer) = oneshot::channel();
        self.questions.retain(|_, asked| !asked.is_closed());
        self.questions.insert(id, question);
        self.tell(FromKeeper::Stats { id });
        Some(answer)
    }
}

/// Whether the descriptor is one of the FUSE device: what a pod gives back is looked
/// at before it is kept.
pub(super) fn is_fuse_device(fd: impl AsFd) -> bool {
    const FUSE: (u32, u32) = (10, 229);
    rustix::fs::fstat(fd).is_ok_and(|stat| {
        (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        ) == FUSE
    })
}
