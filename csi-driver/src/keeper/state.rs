//! What the keeper knows of one mount, and what follows from it. No waiting here.

use std::os::fd::OwnedFd;

use carafe_api::{
    MountArguments, VolumeSecret,
    handover::{Attach, Bundle, Descriptors, FromKeeper, Hello, PROTOCOL, Process, Usage},
};
use tokio::sync::oneshot;

/// How many may wait at once for a client to say how full its volume is.
const QUESTIONS: usize = 64;

const SERVED_BY_ANOTHER: &str = "another process serves this mount";
const HELD_BY_NOBODY: &str =
    "the mount is gone: neither the node plugin nor this pod holds its descriptors";

/// What a client that connects is answered.
#[derive(Debug)]
pub(super) enum Greeting {
    /// It serves; if it holds the descriptors already, there are none.
    Welcome(Box<Attach>, Bundle),
    /// It may ask again when that process has ended.
    After(Process),
    /// It gets nothing.
    Refused(&'static str),
}

/// What the keeper knows of a mount.
#[derive(Debug, Default)]
pub(super) struct State {
    bundle: Bundle,
    init: Option<Vec<u8>>,
    arguments: MountArguments,
    secret: VolumeSecret,
    epoch: u64,
    served: bool,
    lost: bool,
    releasing: bool,
    connected: bool,
    /// Who was handed the descriptors last.
    client: Option<Process>,
    outbox: Outbox,
    questions: Vec<oneshot::Sender<Usage>>,
    next_question: u64,
}

/// What the client is still to be told. No queue: of each kind only the newest counts,
/// so a client that does not read costs nothing.
#[derive(Debug, Default)]
struct Outbox {
    secret: bool,
    release: bool,
    question: Option<u64>,
    end: bool,
}

impl State {
    /// A mount that was just made: no client has had it.
    pub(super) fn of(arguments: MountArguments, secret: VolumeSecret, bundle: Bundle) -> Self {
        Self {
            bundle,
            arguments,
            secret,
            ..Self::default()
        }
    }

    /// Whether the descriptors are here.
    pub(super) fn is_held(&self) -> bool {
        self.bundle.device.is_some()
    }

    /// Whether a client is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether a worker has ever served.
    pub(super) fn was_served(&self) -> bool {
        self.served
    }

    /// Whether the pod came with nothing when nothing was held: nobody has the
    /// connection.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether a release is still wanted.
    pub(super) fn is_releasing(&self) -> bool {
        self.releasing
    }

    /// Takes what the pod gives back, if nothing is held, and answers what it gets.
    ///
    /// One process at a time has the descriptors and the memory: two workers would read
    /// from one connection and write to one region.
    pub(super) fn greet(
        &mut self,
        hello: &Hello,
        given: Bundle,
        process: &Process,
    ) -> std::io::Result<Greeting> {
        let gives = given.device.is_some();
        if let Some(client) = self.client_beside(process) {
            return Ok(if gives {
                Greeting::Refused(SERVED_BY_ANOTHER)
            } else {
                Greeting::After(client)
            });
        }
        if gives && !self.is_held() {
            self.adopt(hello, given);
        }
        if !self.is_held() {
            self.lost = true;
            return Ok(Greeting::Refused(HELD_BY_NOBODY));
        }
        let bundle = if gives {
            Bundle::default()
        } else {
            self.epoch += 1;
            self.bundle.duplicate()?
        };
        self.client = Some(process.clone());
        self.connected = true;
        self.outbox = Outbox {
            release: self.releasing,
            ..Outbox::default()
        };
        let attach = self.attach(hello, bundle.counts());
        Ok(Greeting::Welcome(Box::new(attach), bundle))
    }

    /// Another process that may still serve.
    fn client_beside(&self, process: &Process) -> Option<Process> {
        let client = self.client.as_ref()?;
        let is_other = !client.has_ended() && !client.is(process);
        is_other.then(|| client.clone())
    }

    fn attach(&self, hello: &Hello, descriptors: Descriptors) -> Attach {
        Attach {
            protocol: PROTOCOL.min(hello.protocol.max(1)),
            epoch: self.epoch,
            arguments: self.arguments.clone(),
            secret: self.secret.clone(),
            init: self.init.clone(),
            descriptors,
        }
    }

    fn adopt(&mut self, hello: &Hello, given: Bundle) {
        let attached = hello.attached.as_deref().cloned().unwrap_or_default();
        self.bundle = given;
        self.served |= attached.init.is_some() || hello.serving;
        self.init = attached.init;
        self.arguments = attached.arguments;
        self.secret = attached.secret;
        self.epoch = self.epoch.max(hello.epoch).max(attached.epoch);
    }

    /// The client is gone, and with it what it was to be told.
    pub(super) fn disconnect(&mut self) {
        self.connected = false;
        self.outbox = Outbox::default();
        self.questions.clear();
    }

    /// A worker serves.
    pub(super) fn set_served(&mut self) {
        self.served = true;
    }

    /// Keeps the memory that the first worker made.
    pub(super) fn set_region(&mut self, region: OwnedFd) {
        self.bundle.region = Some(region);
    }

    /// Takes a changed secret for the client. Answers whether it is another one.
    pub(super) fn rotate(&mut self, secret: &VolumeSecret) -> bool {
        if !self.is_held() || self.secret.fingerprint() == secret.fingerprint() {
            return false;
        }
        self.secret = secret.clone();
        self.outbox.secret = true;
        true
    }

    /// The client is to commit all that was written.
    pub(super) fn release(&mut self) {
        self.releasing = true;
        self.outbox.release = true;
    }

    /// The mount is wanted on.
    pub(super) fn keep_on(&mut self) {
        self.releasing = false;
        self.outbox.release = false;
    }

    /// The kernel has unmounted: closes the descriptors, and the client is to end.
    pub(super) fn end(&mut self) {
        self.bundle = Bundle::default();
        self.outbox.end = true;
    }

    /// Notes what the kernel and the first worker agreed on.
    pub(super) fn set_init(&mut self, blob: Vec<u8>) {
        self.init = Some(blob);
    }

    /// Answers those who asked how full the volume is.
    pub(super) fn answer(&mut self, usage: Usage) {
        for question in std::mem::take(&mut self.questions) {
            // Whoever asked may have stopped waiting.
            let _ = question.send(usage);
        }
    }

    /// The next thing that the client is to be told.
    pub(super) fn next_message(&mut self) -> Option<FromKeeper> {
        let outbox = &mut self.outbox;
        if std::mem::take(&mut outbox.secret) {
            let secret = Box::new(self.secret.clone());
            return Some(FromKeeper::Secret { secret });
        }
        if std::mem::take(&mut outbox.release) {
            return Some(FromKeeper::Release);
        }
        if let Some(id) = outbox.question.take() {
            return Some(FromKeeper::Stats { id });
        }
        std::mem::take(&mut outbox.end).then_some(FromKeeper::End)
    }

    /// Asks the client how full the volume is, if it can answer.
    pub(super) fn ask(&mut self) -> Option<oneshot::Receiver<Usage>> {
        self.questions.retain(|asked| !asked.is_closed());
        if !self.connected || self.questions.len() >= QUESTIONS {
            return None;
        }
        self.next_question += 1;
        self.outbox.question = Some(self.next_question);
        let (question, answer) = oneshot::channel();
        self.questions.push(question);
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use rustix::process::Pid;

    use super::*;

    /// A process that does nothing until it is killed.
    struct Pod(Child);

    impl Pod {
        fn start() -> Self {
            Self(Command::new("sleep").arg("600").spawn().unwrap())
        }

        fn process(&self) -> Process {
            Process::open(Pid::from_child(&self.0)).unwrap()
        }
    }

    impl Drop for Pod {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn device() -> Bundle {
        Bundle {
            device: Some(std::fs::File::open("/dev/null").unwrap().into()),
            ..Bundle::default()
        }
    }

    fn state() -> State {
        State::of(MountArguments::default(), VolumeSecret::default(), device())
    }

    fn greet(state: &mut State, pod: &Pod, given: Bundle) -> Greeting {
        let process = pod.process();
        state.greet(&Hello::default(), given, &process).unwrap()
    }

    #[tokio::test]
    async fn a_second_pod_gets_nothing_before_the_first_is_dead() {
        let (mut state, first, second) = (state(), Pod::start(), Pod::start());
        let greeting = greet(&mut state, &first, Bundle::default());
        assert!(matches!(greeting, Greeting::Welcome(..)), "{greeting:?}");
        state.disconnect();

        let greeting = greet(&mut state, &second, Bundle::default());
        let Greeting::After(predecessor) = greeting else {
            panic!("a closed connection is no death: {greeting:?}");
        };
        drop(first);
        predecessor.ended().await.unwrap();
        let greeting = greet(&mut state, &second, Bundle::default());
        let Greeting::Welcome(attach, bundle) = greeting else {
            panic!("nobody serves any more: {greeting:?}");
        };
        assert_eq!((attach.epoch, bundle.counts().device), (2, 1));
    }

    #[tokio::test]
    async fn a_pod_that_lost_its_connection_is_taken_back() {
        let (mut state, pod) = (state(), Pod::start());
        greet(&mut state, &pod, Bundle::default());
        state.disconnect();
        // The answer may have been lost: it holds nothing yet.
        let again = greet(&mut state, &pod, Bundle::default());
        assert!(
            matches!(&again, Greeting::Welcome(_, bundle) if bundle.counts().device == 1),
            "{again:?}"
        );
        let again = greet(&mut state, &pod, device());
        assert!(
            matches!(&again, Greeting::Welcome(_, bundle) if bundle.counts().device == 0),
            "{again:?}"
        );
    }

    #[tokio::test]
    async fn of_two_pods_that_hold_the_mount_the_first_serves() {
        let (mut state, first, second) = (State::default(), Pod::start(), Pod::start());
        let greeting = greet(&mut state, &first, device());
        assert!(matches!(greeting, Greeting::Welcome(..)), "{greeting:?}");
        let greeting = greet(&mut state, &second, device());
        assert!(matches!(greeting, Greeting::Refused(_)), "{greeting:?}");
    }
}
