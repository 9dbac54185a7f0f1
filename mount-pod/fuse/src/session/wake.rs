//! Waking reader threads that wait for the kernel.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::SessionError;

/// Set once, seen by all.
#[derive(Debug)]
pub(super) struct Wake {
    event: OwnedFd,
    set: AtomicBool,
}

impl Wake {
    pub(super) fn new() -> Result<Self, SessionError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let event = event
            .map_err(|errno| SessionError::System("make an eventfd", Arc::new(errno.into())))?;
        Ok(Self {
            event,
            set: AtomicBool::new(false),
        })
    }

    /// Wakes every thread that waits now or later.
    pub(super) fn all(&self) {
        self.set.store(true, Ordering::Release);
        // Nobody reads the counter, so it stays readable for everybody.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Waits until `device` has a request, or everybody is woken.
    pub(super) fn wait(&self, device: impl AsFd) {
        let mut fds = [
            PollFd::new(&device, PollFlags::IN),
            PollFd::new(&self.event, PollFlags::IN),
        ];
        // A signal or a failed poll leads to another read, which says what is wrong.
        let _ = poll(&mut fds, None);
    }
}
