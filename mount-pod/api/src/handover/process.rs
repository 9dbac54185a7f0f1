//! The process at the other end of a connection, held by a pidfd.

use std::{os::fd::OwnedFd, sync::Arc};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{HandoverError, link::poll_failed, link::register};

/// A process, whose end can be seen and awaited; its number is never mistaken for a
/// later one's.
///
/// Of a mount pod this is the supervisor, the first process of its container: the
/// kernel ends it only when no process of the container is left, so its end is also
/// its worker's.
#[derive(Clone, Debug)]
pub struct Process {
    pid: Pid,
    fd: Arc<AsyncFd<OwnedFd>>,
}

impl Process {
    /// Holds the process of that number. Must be called inside a runtime.
    pub fn open(pid: Pid) -> Result<Self, HandoverError> {
        let fd = pidfd_open(pid, PidfdFlags::empty())
            .map_err(HandoverError::os("open the client's pidfd"))?;
        let fd = Arc::new(register(fd, Interest::READABLE)?);
        Ok(Self { pid, fd })
    }

    /// Whether it has ended. What cannot be seen is taken for alive.
    pub fn has_ended(&self) -> bool {
        happened(self.fd.get_ref(), PollFlags::IN).is_ok_and(|events| !events.is_empty())
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Result<(), HandoverError> {
        self.fd.readable().await.map(drop).map_err(poll_failed)
    }

    /// Kills it; one that has ended is fine.
    pub fn kill(&self) -> Result<(), HandoverError> {
        match pidfd_send_signal(self.fd.get_ref(), Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(HandoverError::os("kill a client")(errno)),
        }
    }

    /// Whether both are one process that is alive.
    pub fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && !self.has_ended() && !other.has_ended()
    }
}

/// Who connected. The number is the process's only as long as the connection is open:
/// looked at after the pidfd is there.
pub(super) fn process_of(connection: &OwnedFd, pid: Pid) -> Result<Process, HandoverError> {
    let process = Process::open(pid)?;
    let events = happened(connection, PollFlags::empty());
    let events = events.map_err(HandoverError::os("look at a connection"))?;
    if events.intersects(PollFlags::HUP | PollFlags::ERR) {
        return Err(HandoverError::Closed);
    }
    Ok(process)
}

/// What has happened to a descriptor by now, without waiting: of `wanted`, and what
/// poll(2) always tells.
fn happened(fd: &OwnedFd, wanted: PollFlags) -> Result<PollFlags, Errno> {
    let mut fds = [PollFd::new(fd, wanted)];
    let now = Timespec::default();
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)))?;
    Ok(fds[0].revents())
}
