//! Sockets by directory: kubelet's paths are longer than a socket address may be
//! (107 bytes), so both sides go through `/proc/self/fd/<directory>/<name>`.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, fchmod, openat, unlinkat},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    },
};

use super::HandoverError;

/// Opens a directory to find a socket in.
pub(super) fn open_directory(dir: &Path) -> Result<OwnedFd, HandoverError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(CWD, dir, flags, Mode::empty()).map_err(HandoverError::os("open the socket's directory"))
}

fn address(dir: &OwnedFd, name: &str) -> Result<SocketAddrUnix, HandoverError> {
    let path = format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd());
    SocketAddrUnix::new(path).map_err(HandoverError::os("spell the socket's address"))
}

fn socket(flags: SocketFlags) -> Result<OwnedFd, HandoverError> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags | SocketFlags::CLOEXEC,
        None,
    )
    .map_err(HandoverError::os("make a socket"))
}

/// Listens on `name` in `dir` (without blocking in accept), in place of whatever
/// socket is there. Only the socket's owner can connect.
pub fn listen_in(dir: &Path, name: &str) -> Result<OwnedFd, HandoverError> {
    let dir = open_directory(dir)?;
    match unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(HandoverError::os("remove an old socket")(errno)),
    }
    let listener = socket(SocketFlags::NONBLOCK)?;
    // Before there is a name: by its name, another's file could be meant by then.
    fchmod(&listener, Mode::RUSR | Mode::WUSR).map_err(HandoverError::os("restrict the socket"))?;
    bind(&listener, &address(&dir, name)?).map_err(HandoverError::os("bind the socket"))?;
    listen(&listener, 8).map_err(HandoverError::os("listen on the socket"))?;
    Ok(listener)
}

/// Connects to `name` in `dir`; the connection blocks.
pub fn connect_in(dir: &Path, name: &str) -> Result<OwnedFd, HandoverError> {
    let dir = open_directory(dir)?;
    let connection = socket(SocketFlags::empty())?;
    connect(&connection, &address(&dir, name)?)
        .map_err(HandoverError::os("connect to the socket"))?;
    Ok(connection)
}
