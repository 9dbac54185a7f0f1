//! The keeper's side: asynchronous, on tokio.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Gid, Mode, Uid, chmodat, chownat},
    io::Errno,
    net::{SocketFlags, accept_with, sockopt::socket_peercred},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    FromKeeper, FromPod, HandoverError, Link, Process, SOCKET, address::open_directory,
    link::poll_failed, link::register, listen_in, process::process_of,
};

/// The keeper's socket of one mount pod.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    user: u32,
}

/// One connection from a mount pod.
#[derive(Debug)]
pub struct Peer {
    link: Link,
    process: Process,
}

impl Listener {
    /// Listens in `dir`, which from now on only `user` (and root) can enter; so only
    /// the pod that has the directory and that user can connect.
    pub fn bind(dir: &Path, user: u32) -> Result<Self, HandoverError> {
        let socket = listen_in(dir, SOCKET)?;
        let dir_fd = open_directory(dir)?;
        let owner = (Some(Uid::from_raw(user)), Some(Gid::from_raw(user)));
        chownat(&dir_fd, SOCKET, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|()| chownat(&dir_fd, "", owner.0, owner.1, AtFlags::EMPTY_PATH))
            .and_then(|()| chmodat(&dir_fd, ".", Mode::from_raw_mode(0o700), AtFlags::empty()))
            .map_err(HandoverError::os("restrict the socket's directory"))?;
        let socket = register(socket, Interest::READABLE)?;
        Ok(Self { socket, user })
    }

    /// The next connection of the pod's user; others are dropped.
    pub async fn accept(&self) -> Result<Peer, HandoverError> {
        loop {
            let mut ready = self.socket.readable().await.map_err(poll_failed)?;
            match accept_with(
                self.socket.get_ref(),
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            ) {
                Ok(connection) => {
                    let peer = socket_peercred(&connection)
                        .map_err(HandoverError::os("ask who connected"))?;
                    if ![self.user, 0].contains(&peer.uid.as_raw()) {
                        tracing::warn!(
                            uid = peer.uid.as_raw(),
                            "refused a connection to the keeper by another user"
                        );
                        continue;
                    }
                    match process_of(&connection, peer.pid) {
                        Ok(process) => {
                            return Link::new(connection).map(|link| Peer { link, process });
                        }
                        Err(error) => tracing::info!(%error, "a client connected and is gone"),
                    }
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(errno) => return Err(HandoverError::os("accept a connection")(errno)),
            }
        }
    }
}

impl Peer {
    /// The process that connected.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The next message and its descriptors. Cancel safe.
    pub async fn receive(&self) -> Result<(FromPod, Vec<OwnedFd>), HandoverError> {
        self.link.receive().await
    }

    /// Sends a message with descriptors, which stay the caller's.
    pub async fn send(
        &self,
        message: &FromKeeper,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverError> {
        self.link.send(message, fds).await
    }
}
