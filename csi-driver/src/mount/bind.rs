//! Bind mounts, and taking mounts away.

use std::{io, path::Path};

use rustix::{
    fs::CWD,
    io::Errno,
    mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree},
};

use super::MountTable;

/// Shows `source` at `target`. Neither is touched: a bind resolves names only.
///
/// The copy is restricted before it is mounted: what other namespaces get of it is what
/// it is at that moment, and a later change would stay in this one.
pub fn bind(source: &Path, target: &Path, read_only: bool) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(CWD, source, flags)?;
    attributes::restrict(&copy, read_only)?;
    move_mount(
        copy,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    Ok(())
}

/// Takes away everything that is mounted at `target`. Waits for the file system to
/// write back what it must; `Ok` if nothing is mounted there.
pub fn unmount(target: &Path) -> io::Result<()> {
    unmount_all(target, UnmountFlags::NOFOLLOW)
}

/// As [`unmount`], but only out of sight: what is in use goes later, and nothing is
/// waited for.
pub fn unmount_lazily(target: &Path) -> io::Result<()> {
    unmount_all(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
}

fn unmount_all(target: &Path, flags: UnmountFlags) -> io::Result<()> {
    for _ in 0..MountTable::read()?.count_at(target) {
        match rustix::mount::unmount(target, flags) {
            Ok(()) => {}
            // Not mounted, or not there: somebody was faster.
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Makes a directory to mount on, unless something is there; answers whether it did.
/// What is there is not looked at: it may be a mount whose client hangs.
pub fn make_directory(path: &Path) -> io::Result<bool> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes an empty directory; one that is not there is fine.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The one call that rustix has no safe function for.
mod attributes {
    #![allow(unsafe_code)]

    use std::{
        io,
        os::fd::{AsRawFd, OwnedFd},
    };

    /// Lets nothing of the detached mount be run as its owner or be a device, and, if
    /// asked, nothing be written. Linux 5.12.
    pub(super) fn restrict(mount: &OwnedFd, read_only: bool) -> io::Result<()> {
        let mut set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        if read_only {
            set |= libc::MOUNT_ATTR_RDONLY;
        }
        let attributes = libc::mount_attr {
            attr_set: set,
            attr_clr: 0,
            propagation: 0,
            userns_fd: 0,
        };
        // SAFETY: the kernel reads the empty path and the attributes, whose size it is
        // told, through pointers that live for the call; it writes nothing.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                mount.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw const attributes,
                size_of::<libc::mount_attr>(),
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
