//! Bind mounts, and taking mounts away.

use std::{io, path::Path};

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount_bind, mount_remount},
};

use super::MountTable;

/// Shows `source` at `target`. Neither is touched: a bind resolves names only.
pub fn bind(source: &Path, target: &Path, read_only: bool) -> io::Result<()> {
    mount_bind(source, target)?;
    let mut flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
    if read_only {
        flags |= MountFlags::RDONLY;
    }
    let restricted = mount_remount(target, flags, c"");
    if let Err(errno) = restricted {
        let _ = unmount_lazily(target);
        return Err(errno.into());
    }
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
