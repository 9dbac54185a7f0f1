//! Reader threads that wait for the kernel, and how they are woken.
//!
//! A request wakes one thread and not all: each waits in an epoll of its own that the
//! device wakes exclusively.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    buffer::spare_capacity,
    event::{
        EventfdFlags,
        epoll::{self, CreateFlags, EventData, EventFlags},
        eventfd,
    },
    io::Errno,
};

use super::SessionError;

/// Set once, seen by all.
#[derive(Debug)]
pub(super) struct Wake {
    event: OwnedFd,
    set: AtomicBool,
}

/// Where one thread waits.
#[derive(Debug)]
pub(super) struct Waiter {
    epoll: OwnedFd,
}

impl Wake {
    pub(super) fn new() -> Result<Self, SessionError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let event = event.map_err(system("make an eventfd"))?;
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

    /// A place to wait for `device` and for being woken.
    pub(super) fn waiter(&self, device: impl AsFd) -> Result<Waiter, SessionError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(system("make an epoll"))?;
        let exclusive = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&epoll, device, EventData::new_u64(0), exclusive)
            .and_then(|()| epoll::add(&epoll, &self.event, EventData::new_u64(1), EventFlags::IN))
            .map_err(system("wait for the device"))?;
        Ok(Waiter { epoll })
    }
}

impl Waiter {
    /// Waits until the device has a request, or everybody is woken.
    pub(super) fn wait(&self) {
        let mut events = Vec::with_capacity(2);
        // A signal or a failed wait leads to another read, which says what is wrong.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), None);
    }
}

fn system(what: &'static str) -> impl FnOnce(Errno) -> SessionError {
    move |errno| SessionError::System(what, Arc::new(errno.into()))
}
