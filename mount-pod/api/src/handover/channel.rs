//! One packet, one message: sending and receiving with descriptors.
//!
//! This is the codec for both sides and for the pair of supervisor and worker. It
//! blocks or not as the socket does.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
        sendmsg, socketpair,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// The longest message in bytes.
pub const MAX_MESSAGE: usize = 128 << 10;
/// The most descriptors with one message.
pub const MAX_DESCRIPTORS: usize = 64;

/// What can go wrong between keeper and mount pod.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The kernel refused.
    #[error("{step}: {source}")]
    Os {
        /// What was attempted.
        step: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The other side is gone.
    #[error("the other side has closed the connection")]
    Closed,
    /// Nothing came in time.
    #[error("the other side did not answer in time")]
    TimedOut,
    /// What came is not a message.
    #[error("a message that cannot be read: {0}")]
    Garbled(String),
    /// More than a message can be.
    #[error("a message of {0} bytes is longer than {MAX_MESSAGE}")]
    TooLong(usize),
    /// The message speaks of other descriptors than those that came.
    #[error("{said} descriptors were announced and {came} came")]
    Descriptors {
        /// As the message says.
        said: usize,
        /// As the kernel delivered.
        came: usize,
    },
    /// A message that has no place here.
    #[error("an unexpected message: {0}")]
    Unexpected(String),
    /// The keeper does not serve this pod.
    #[error("the node plugin refused: {0}")]
    Refused(String),
}

impl HandoverError {
    pub(super) fn os(step: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Os {
            step,
            source: errno.into(),
        }
    }

    /// Whether the call would have blocked.
    pub fn would_block(&self) -> bool {
        matches!(self, Self::Os { source, .. } if source.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// A connected `SOCK_SEQPACKET` socket.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Wraps a connected socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Two ends of a new connection, for a parent and its child.
    pub fn pair() -> Result<(Self, Self), HandoverError> {
        let (one, two) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(HandoverError::os("make a pair of sockets"))?;
        Ok((Self::new(one), Self::new(two)))
    }

    /// The socket, for a parent that passes it to its child.
    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Sends one message with its descriptors, which stay the caller's.
    pub fn send<M: Serialize>(
        &self,
        message: &M,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverError> {
        let json = serde_json::to_vec(message)
            .map_err(|error| HandoverError::Garbled(error.to_string()))?;
        if json.len() > MAX_MESSAGE {
            return Err(HandoverError::TooLong(json.len()));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(HandoverError::Descriptors {
                said: fds.len(),
                came: MAX_DESCRIPTORS,
            });
        }
        let send = || {
            sendmsg(
                &self.socket,
                &[IoSlice::new(&json)],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            )
        };
        match rustix::io::retry_on_intr(send) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(HandoverError::Closed),
            Err(errno) => Err(HandoverError::os("send a message")(errno)),
        }
    }

    /// Receives one message and its descriptors (close-on-exec).
    pub fn receive<M: DeserializeOwned>(&self) -> Result<(M, Vec<OwnedFd>), HandoverError> {
        let (bytes, fds) = self.receive_bytes()?;
        // serde_json's message could repeat a piece of the text, which may be secret.
        let parsed = serde_json::from_slice(&bytes);
        let message = parsed.map_err(|error| {
            HandoverError::Garbled(format!(
                "{:?} at column {}",
                error.classify(),
                error.column()
            ))
        })?;
        Ok((message, fds))
    }

    /// Waits until a message can be received; `false` if the time passed first.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, HandoverError> {
        let mut poll_fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        match poll(&mut poll_fds, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            // A signal: the caller looks at what it brought and asks again.
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(HandoverError::os("wait for a message")(errno)),
        }
    }

    fn receive_bytes(&self) -> Result<(Vec<u8>, Vec<OwnedFd>), HandoverError> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let mut receive = || {
            recvmsg(
                &self.socket,
                &mut iov,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        };
        let received = match rustix::io::retry_on_intr(&mut receive) {
            Ok(received) if received.bytes == 0 => return Err(HandoverError::Closed),
            Ok(received) => received,
            Err(Errno::CONNRESET) => return Err(HandoverError::Closed),
            Err(errno) => return Err(HandoverError::os("receive a message")(errno)),
        };
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(HandoverError::Garbled("it was cut".into()));
        }
        bytes.truncate(received.bytes);
        Ok((bytes, fds))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
