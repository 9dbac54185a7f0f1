//! Where a cache may live: a path, or a descriptor of a directory.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::fs::{Mode, OFlags, mkdirat, open, openat};

/// A cache directory. All that lies below is reached from its descriptor, never by a
/// path, so that it may be a mount that no path leads to.
#[derive(Debug)]
pub struct CacheDirectory {
    pub(super) fd: OwnedFd,
    pub(super) name: String,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::CLOEXEC)
    .union(OFlags::RDONLY);

impl CacheDirectory {
    /// The directory at `path`, which is made if it is not there.
    pub fn at_path(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let fd = open(path, DIRECTORY, Mode::empty())?;
        Ok(Self {
            fd,
            name: path.display().to_string(),
        })
    }

    /// The directory that `fd` is open on; `fd` itself is not kept. `name` stays the same over restarts: it says
    /// which slices belong here when there are several directories.
    pub fn at_descriptor(fd: impl AsFd, name: impl Into<String>) -> io::Result<Self> {
        // A descriptor made by open_tree(2) is only a place; reading needs a real one.
        let fd = openat(fd, ".", DIRECTORY, Mode::empty())?;
        Ok(Self {
            fd,
            name: name.into(),
        })
    }

    /// The directory `name` below this one, made if it is not there.
    pub(super) fn below(&self, name: &str) -> io::Result<OwnedFd> {
        ensure(&self.fd, name)?;
        Ok(openat(
            &self.fd,
            name,
            DIRECTORY | OFlags::NOFOLLOW,
            Mode::empty(),
        )?)
    }
}

/// Makes the directory `name` below `parent` if it is not there.
pub(super) fn ensure(parent: impl AsFd, name: &str) -> io::Result<()> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
