//! The conversation on a runtime: one packet socket, both directions.
//!
//! The keeper, the supervisor and the worker all speak through it; who sends which
//! messages is theirs.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::ioctl_fionbio;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Channel, HandoverError};

/// A connection that carries handover messages.
#[derive(Debug)]
pub struct Link {
    channel: AsyncFd<Channel>,
}

impl Link {
    /// Takes a connected socket; must be called inside a runtime.
    pub fn new(socket: OwnedFd) -> Result<Self, HandoverError> {
        ioctl_fionbio(&socket, true).map_err(HandoverError::os("prepare a socket"))?;
        let channel = register(
            Channel::new(socket),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(Self { channel })
    }

    /// The next message and its descriptors. Cancel safe.
    pub async fn receive<M: DeserializeOwned>(&self) -> Result<(M, Vec<OwnedFd>), HandoverError> {
        loop {
            let mut ready = self.channel.readable().await.map_err(poll_failed)?;
            match self.channel.get_ref().receive() {
                Err(error) if error.would_block() => ready.clear_ready(),
                done => return done,
            }
        }
    }

    /// Sends one message with its descriptors, which stay the caller's.
    pub async fn send<M: Serialize>(
        &self,
        message: &M,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverError> {
        loop {
            let mut ready = self.channel.writable().await.map_err(poll_failed)?;
            match self.channel.get_ref().send(message, fds) {
                Err(error) if error.would_block() => ready.clear_ready(),
                done => return done,
            }
        }
    }
}

// The sound replacement is `unsafe` for types whose descriptor may change under the
// reactor; those used here own one descriptor for as long as they live.
#[expect(
    deprecated,
    reason = "an owned descriptor is what the deprecation asks for"
)]
pub(super) fn register<T: AsRawFd>(
    socket: T,
    interest: Interest,
) -> Result<AsyncFd<T>, HandoverError> {
    AsyncFd::with_interest(socket, interest).map_err(poll_failed)
}

pub(super) fn poll_failed(source: std::io::Error) -> HandoverError {
    HandoverError::Os {
        step: "poll a socket",
        source,
    }
}
