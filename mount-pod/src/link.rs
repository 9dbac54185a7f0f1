//! The handover's messages on a runtime: one packet socket, both directions.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use carafe_api::handover::{Channel, HandoverError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::unix::AsyncFd;

/// A connection that carries handover messages.
#[derive(Debug)]
pub(crate) struct Link {
    channel: AsyncFd<Channel>,
}

impl Link {
    /// Takes a connected socket; must be called inside a runtime.
    pub(crate) fn new(socket: OwnedFd) -> Result<Self, HandoverError> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(failed("prepare a socket"))?;
        #[expect(
            deprecated,
            reason = "the other way is unsafe; a channel owns its socket as long as it lives"
        )]
        let channel = AsyncFd::new(Channel::new(socket));
        channel
            .map(|channel| Self { channel })
            .map_err(|source| HandoverError::Os {
                step: "poll a socket",
                source,
            })
    }

    /// The next message and its descriptors. Cancel safe.
    pub(crate) async fn receive<M: DeserializeOwned>(
        &self,
    ) -> Result<(M, Vec<OwnedFd>), HandoverError> {
        loop {
            let ready = self.channel.readable().await;
            let mut ready = ready.map_err(|source| HandoverError::Os {
                step: "poll a socket",
                source,
            })?;
            match self.channel.get_ref().receive() {
                Err(error) if error.would_block() => ready.clear_ready(),
                done => return done,
            }
        }
    }

    /// Sends one message with its descriptors, which stay the caller's.
    pub(crate) async fn send<M: Serialize>(
        &self,
        message: &M,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverError> {
        loop {
            let ready = self.channel.writable().await;
            let mut ready = ready.map_err(|source| HandoverError::Os {
                step: "poll a socket",
                source,
            })?;
            match self.channel.get_ref().send(message, fds) {
                Err(error) if error.would_block() => ready.clear_ready(),
                done => return done,
            }
        }
    }
}

fn failed(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> HandoverError {
    move |errno| HandoverError::Os {
        step,
        source: errno.into(),
    }
}

/// Duplicates a descriptor.
pub(crate) fn duplicate(fd: impl AsFd) -> std::io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}
