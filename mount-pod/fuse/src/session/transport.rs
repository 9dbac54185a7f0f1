//! The descriptors: reading requests into slots, writing replies.

use std::{
    io::IoSlice,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use bytes::Bytes;
use carafe_state::{ReadSlot, Request};
use rustix::io::Errno;

use super::SessionError;
use crate::abi::{Body, REPLY_HEADER_LEN, Reply};

/// The most pieces of one writev(2).
const MAX_PIECES: usize = 1000;

/// The device and its clones.
#[derive(Debug)]
pub(super) struct Transport {
    devices: Vec<OwnedFd>,
}

/// What came of reading.
pub(super) enum Received {
    /// A message of so many bytes lies in the slot.
    Message(usize),
    /// Nothing is there now.
    Nothing,
    /// The mount is gone.
    Unmounted,
    /// The device does not work.
    Failed(Errno),
}

impl Transport {
    pub(super) fn new(devices: Vec<OwnedFd>) -> Result<Self, SessionError> {
        if devices.is_empty() {
            return Err(SessionError::NoDevice);
        }
        for device in &devices {
            let set = rustix::io::ioctl_fionbio(device, true);
            set.map_err(|errno| {
                SessionError::System("prepare the device", Arc::new(errno.into()))
            })?;
        }
        Ok(Self { devices })
    }

    /// The descriptor that thread `number` reads, and its number.
    pub(super) fn device(&self, number: usize) -> (usize, &OwnedFd) {
        let index = number % self.devices.len();
        (index, &self.devices[index])
    }

    /// Reads the next request straight into its slot.
    pub(super) fn receive(device: impl AsFd, slot: &mut ReadSlot) -> Received {
        loop {
            return match rustix::io::read(&device, &mut *slot.buffer()) {
                Ok(len) => Received::Message(len),
                Err(Errno::AGAIN) => Received::Nothing,
                // ENOENT: the request was taken back before it was read.
                Err(Errno::INTR | Errno::NOENT) => continue,
                Err(Errno::NODEV) => Received::Unmounted,
                Err(errno) => Received::Failed(errno),
            };
        }
    }

    /// Writes the reply to where the request came from, then marks it answered.
    pub(super) fn reply(&self, request: &Request, unique: u64, reply: Result<Reply, i32>) {
        let (error, parts) = match reply {
            Ok(Reply::Empty) => (0, Vec::new()),
            Ok(Reply::Body(body)) => (0, vec![Bytes::from(body)]),
            Ok(Reply::Data(parts)) => (0, few(parts)),
            Err(errno) => (-errno, Vec::new()),
        };
        let len = REPLY_HEADER_LEN + parts.iter().map(Bytes::len).sum::<usize>();
        let header = Body::default()
            .u32(len as u32)
            .u32(error as u32)
            .u64(unique)
            .0;
        let mut pieces = Vec::with_capacity(parts.len() + 1);
        pieces.push(IoSlice::new(&header));
        pieces.extend(parts.iter().map(|part| IoSlice::new(part)));
        let (_, device) = self.device(request.clone_index() as usize);
        match rustix::io::retry_on_intr(|| rustix::io::writev(device, &pieces)) {
            // ENOENT: the kernel has given the request up; ENODEV: the mount is gone.
            Ok(_) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(error) => tracing::error!(%error, unique, len, "a reply was refused"),
        }
        request.answered();
    }
}

/// The same bytes in few enough pieces for one system call.
fn few(parts: Vec<Bytes>) -> Vec<Bytes> {
    if parts.len() <= MAX_PIECES {
        parts
    } else {
        vec![Bytes::from(parts.concat())]
    }
}
