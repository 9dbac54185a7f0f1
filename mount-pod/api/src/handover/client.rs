//! The mount pod's side: blocking, without a runtime, for a small supervisor.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Attach, Bundle, Channel, FromKeeper, FromPod, HandoverError, Hello, PROTOCOL, SOCKET,
    connect_in,
};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// A connection to the keeper.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
}

/// What the keeper handed over.
#[derive(Debug)]
pub struct Attached {
    /// What to serve, and with which secret.
    pub attach: Attach,
    /// The descriptors. For a pod that gave its own back there are none: it has them.
    pub bundle: Bundle,
}

impl Client {
    /// Connects once.
    pub fn connect(dir: &Path) -> Result<Self, HandoverError> {
        Ok(Self {
            channel: Channel::new(connect_in(dir, SOCKET)?),
        })
    }

    /// Connects as soon as the keeper listens, asking again with growing pauses.
    /// Answers the last failure when `patience` is over (`None`: never).
    pub fn connect_patiently(
        dir: &Path,
        patience: Option<Duration>,
    ) -> Result<Self, HandoverError> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match Self::connect(dir) {
                Ok(client) => return Ok(client),
                Err(error) if patience.is_some_and(|patience| start.elapsed() >= patience) => {
                    return Err(error);
                }
                Err(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Says who this is and what it holds, and waits for the keeper's answer.
    /// `version` and `pod` are for people.
    pub fn hello(
        &self,
        hello: &Hello,
        holds: &Bundle,
        timeout: Duration,
    ) -> Result<Attached, HandoverError> {
        let hello = Hello {
            protocol: PROTOCOL,
            holds: holds.counts(),
            ..hello.clone()
        };
        self.channel
            .send(&FromPod::Hello(Box::new(hello)), &holds.borrowed())?;
        let Some((message, fds)) = self.receive(Some(timeout))? else {
            return Err(HandoverError::TimedOut);
        };
        match message {
            FromKeeper::Attach(attach) => {
                let bundle = Bundle::from_wire(attach.descriptors, fds)?;
                Ok(Attached {
                    attach: *attach,
                    bundle,
                })
            }
            FromKeeper::Refused { reason } => Err(HandoverError::Refused(reason)),
            other => Err(HandoverError::Unexpected(format!("{other:?}"))),
        }
    }

    /// The connection itself, for a supervisor that goes on with its own loop.
    pub fn into_channel(self) -> Channel {
        self.channel
    }

    /// Sends a message without descriptors.
    pub fn send(&self, message: &FromPod) -> Result<(), HandoverError> {
        self.channel.send(message, &[])
    }

    /// Hands up the memfd that the first worker made.
    pub fn send_region(&self, region: BorrowedFd<'_>) -> Result<(), HandoverError> {
        self.channel.send(&FromPod::Region, &[region])
    }

    /// The next message, or `None` if none came in time (or a signal came).
    /// Messages after `hello` carry no descriptors in this version.
    pub fn receive(
        &self,
        timeout: Option<Duration>,
    ) -> Result<Option<(FromKeeper, Vec<OwnedFd>)>, HandoverError> {
        if self.channel.wait(timeout)? {
            self.channel.receive().map(Some)
        } else {
            Ok(None)
        }
    }
}

impl AsFd for Client {
    /// For a poll over several things.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
