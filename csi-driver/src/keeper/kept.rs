//! One kept mount.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use carafe_api::{
    MountArguments, VolumeSecret,
    handover::{Bundle, FromKeeper, Hello, Listener, Process, Usage},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    phase::{NotServed, Phase},
    session,
    state::{Greeting, State},
};

/// A mount and what its clients need in turn.
#[derive(Debug)]
pub struct Kept {
    volume: String,
    staging: PathBuf,
    pod: String,
    state: Mutex<State>,
    /// The outbox has something.
    post: Notify,
    phase: watch::Sender<Phase>,
    server: Mutex<Option<Server>>,
}

/// The task that answers one pod's connections.
#[derive(Debug)]
struct Server {
    pod_uid: String,
    _task: AbortOnDropHandle<()>,
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
        Self::with(volume, staging, pod, State::of(arguments, secret, bundle))
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
            post: Notify::new(),
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
        self.state.lock().is_held()
    }

    /// Whether a client is connected.
    pub fn is_connected(&self) -> bool {
        self.state.lock().is_connected()
    }

    /// Whether a worker has ever served this mount: before, nothing can have been
    /// written.
    pub fn was_served(&self) -> bool {
        self.state.lock().was_served()
    }

    /// Whether a client came that holds nothing either: nobody will give it back.
    pub fn is_lost(&self) -> bool {
        self.state.lock().is_lost()
    }

    /// How far the client has come.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Answers who connects to `listener`, which lies in that pod, until the mount
    /// is forgotten or another pod is served.
    pub fn serve(self: &Arc<Self>, listener: Listener, pod_uid: String) {
        drop(self.server.lock().take());
        // Another pod: what the one before said of itself is not true of it.
        self.disconnected();
        self.set_phase(Phase::Waiting);
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
    /// given them back, or has come without. Answers whether they are.
    pub async fn wait_held(&self, patience: Duration) -> bool {
        let mut phase = self.phase.subscribe();
        let held = async {
            while !self.is_held() && !self.is_lost() {
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
            None => Err(NotServed::TimedOut(self.phase().progress())),
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
        let is_other = self.state.lock().rotate(secret);
        if is_other {
            self.post.notify_one();
        }
        is_other
    }

    /// Asks the client how full the volume is; `None` if it does not answer in time.
    pub async fn usage(&self, patience: Duration) -> Option<Usage> {
        let answer = self.state.lock().ask()?;
        self.post.notify_one();
        timeout(patience, answer).await.ok()?.ok()
    }

    /// Asks the client to commit all that was written, and waits until it has.
    pub async fn release(&self, patience: Duration) -> Result<(), NotServed> {
        if self.phase() != Phase::Released {
            self.state.lock().release();
            self.post.notify_one();
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

    /// The volume is wanted again after all: a release that kubelet gave up on.
    pub fn keep_on(&self) {
        self.state.lock().keep_on();
        let connected = self.is_connected();
        self.phase.send_if_modified(|phase| {
            let served = *phase == Phase::Released && connected;
            if served {
                // A client that has released serves on until it is told to end.
                *phase = Phase::Ready;
            }
            served
        });
    }

    /// The kernel has unmounted: closes the descriptors, tells the client to end,
    /// and waits until it has closed the connection. Answers whether it did.
    pub async fn end(&self, patience: Duration) -> bool {
        self.state.lock().end();
        self.post.notify_one();
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

    /// Answers a hello; see [`State::greet`].
    pub(super) fn greet(
        &self,
        hello: &Hello,
        given: Bundle,
        process: &Process,
    ) -> std::io::Result<Greeting> {
        let serves = hello.serving && given.device.is_some();
        let greeting = self.state.lock().greet(hello, given, process)?;
        match &greeting {
            Greeting::Welcome(..) => {
                self.post.notify_one();
                self.set_phase(if serves {
                    Phase::Ready
                } else {
                    Phase::Attached
                });
            }
            Greeting::After(_) => self.set_phase(Phase::Queued),
            // Whoever waits for the descriptors looks again.
            Greeting::Refused(_) => self.phase.send_modify(|_| {}),
        }
        Ok(greeting)
    }

    /// The next message for the client. Cancel safe.
    pub(super) async fn outgoing(&self) -> FromKeeper {
        loop {
            if let Some(message) = self.state.lock().next_message() {
                return message;
            }
            self.post.notified().await;
        }
    }

    /// A client is gone. What it said of itself is no longer true, but a failure
    /// stays to be read, and what was released stays so.
    pub(super) fn disconnected(&self) {
        self.state.lock().disconnect();
        self.phase.send_modify(|phase| {
            if phase.needs_a_client() {
                *phase = Phase::Waiting;
            }
        });
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        if phase == Phase::Ready {
            self.state.lock().set_served();
        }
        self.phase.send_replace(phase);
    }

    /// All is committed: of use only if the release is still wanted, since more may be
    /// written otherwise.
    pub(super) fn released(&self) {
        if self.state.lock().is_releasing() {
            self.set_phase(Phase::Released);
        }
    }

    pub(super) fn set_region(&self, region: std::os::fd::OwnedFd) {
        self.state.lock().set_region(region);
    }

    pub(super) fn set_init(&self, blob: Vec<u8>) {
        self.state.lock().set_init(blob);
    }

    pub(super) fn answered(&self, usage: Usage) {
        self.state.lock().answer(usage);
    }
}

#[cfg(test)]
mod tests {
    use carafe_types::Secret;

    use super::*;

    fn secret(key: &str) -> VolumeSecret {
        VolumeSecret {
            secret_key: Secret::new(key),
            ..VolumeSecret::default()
        }
    }

    /// A client that holds the mount already.
    fn connect(kept: &Kept) {
        let given = Bundle {
            device: Some(std::fs::File::open("/dev/null").unwrap().into()),
            ..Bundle::default()
        };
        let process = Process::open(rustix::process::getpid()).unwrap();
        kept.greet(&Hello::default(), given, &process).unwrap();
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_gets_the_newest_of_each_kind_only() {
        let kept = Kept::empty("v".into(), "/s".into(), "p".into());
        connect(&kept);
        for number in 0..1000 {
            assert!(kept.rotate(&secret(&number.to_string())));
        }
        let short = Duration::from_millis(1);
        assert_eq!(kept.usage(short).await, None);
        let (one, other) = (kept.usage(LONG), kept.usage(LONG));
        let answers = async {
            let newest = FromKeeper::Secret {
                secret: Box::new(secret("999")),
            };
            assert_eq!(kept.outgoing().await, newest);
            assert_eq!(kept.outgoing().await, FromKeeper::Stats { id: 3 });
            kept.answered(Usage::default());
            assert!(timeout(short, kept.outgoing()).await.is_err());
        };
        let (one, other, ()) = tokio::join!(one, other, answers);
        assert_eq!(
            (one, other),
            (Some(Usage::default()), Some(Usage::default()))
        );
    }

    #[tokio::test]
    async fn a_release_that_was_given_up_does_not_stay() {
        let kept = Kept::empty("v".into(), "/s".into(), "p".into());
        connect(&kept);
        kept.set_phase(Phase::Ready);
        assert!(kept.release(Duration::ZERO).await.is_err());
        kept.released();
        kept.keep_on();
        assert_eq!(kept.phase(), Phase::Ready);
        kept.released();
        assert_eq!(kept.phase(), Phase::Ready, "the answer came too late");
        let nothing = timeout(Duration::from_millis(1), kept.outgoing()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }

    const LONG: Duration = Duration::from_secs(10);
}
