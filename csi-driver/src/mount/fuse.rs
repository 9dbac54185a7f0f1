//! FUSE mounts: opening the device, mounting it, cloning it; and cache directories
//! as descriptors that cannot be left.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Gid, Mode, OFlags, Uid, chmod, chown, fstat, major, minor, open},
    mount::{MountFlags, OpenTreeFlags, open_tree},
};

/// The type of our mounts in the mount table.
pub const FUSE_TYPE: &str = "fuse.carafe";

const DEVICE: &str = "/dev/fuse";

/// Why the kernel's side of a mount could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// No FUSE on this node.
    #[error(
        "cannot open {DEVICE} ({0}): load the kernel module `fuse` on the node, and run the node plugin privileged"
    )]
    Device(#[source] io::Error),
    /// mount(2) failed.
    #[error("cannot mount at {target}: {source}")]
    Mount {
        /// Where.
        target: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device could not be cloned.
    #[error("cannot clone the FUSE device: {0}")]
    Clone(#[source] io::Error),
    /// A cache directory could not be made or handed over.
    #[error("cannot prepare the cache directory {path}: {source}")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Whether the descriptor is one of the FUSE device.
pub fn is_fuse_device(fd: impl AsFd) -> bool {
    const FUSE: (u32, u32) = (10, 229);
    fstat(fd).is_ok_and(|stat| (major(stat.st_rdev), minor(stat.st_rdev)) == FUSE)
}

/// Opens a new connection to the kernel, not yet mounted.
pub fn open_device() -> Result<OwnedFd, MountError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    open(DEVICE, flags, Mode::empty()).map_err(|errno| MountError::Device(errno.into()))
}

/// Mounts the connection at `target`. Returns at once: the kernel's INIT request
/// waits in the device. `source` is what people see in the mount table. The kernel checks
/// permissions unless `squashed`: then only the client knows who a caller is.
pub fn mount_fuse(
    device: BorrowedFd<'_>,
    source: &str,
    target: &Path,
    read_only: bool,
    squashed: bool,
) -> Result<(), MountError> {
    let failed = |source: io::Error| MountError::Mount {
        target: target.to_owned(),
        source,
    };
    let checks = if squashed { "" } else { ",default_permissions" };
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other{checks}",
        device.as_raw_fd()
    );
    let data = CString::new(data).map_err(|error| failed(error.into()))?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    if read_only {
        flags |= MountFlags::RDONLY;
    }
    let mounted = rustix::mount::mount(source, target, FUSE_TYPE, flags, data.as_c_str());
    mounted.map_err(|errno| failed(errno.into()))
}

/// A further descriptor of a mounted connection, with a queue of its own, for one
/// more thread that reads requests.
pub fn clone_device(device: BorrowedFd<'_>) -> Result<OwnedFd, MountError> {
    let clone = open_device()?;
    ioctl::clone(&clone, device).map_err(|errno| MountError::Clone(errno.into()))?;
    Ok(clone)
}

/// Makes `path` for `user` alone and answers a descriptor of a mount of its own that
/// shows nothing but it: `..` in its root stays there, whatever a client tries.
pub fn cache_directory(path: &Path, user: u32) -> Result<OwnedFd, MountError> {
    let prepare = || -> io::Result<OwnedFd> {
        std::fs::create_dir_all(path)?;
        chown(path, Some(Uid::from_raw(user)), Some(Gid::from_raw(user)))?;
        chmod(path, Mode::from_raw_mode(0o700))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(open_tree(CWD, path, flags)?)
    };
    prepare().map_err(|source| MountError::Cache {
        path: path.to_owned(),
        source,
    })
}

/// The one call that rustix has no safe function for.
mod ioctl {
    #![allow(unsafe_code)]

    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

    use rustix::{
        io::Errno,
        ioctl::{Opcode, Setter, ioctl, opcode},
    };

    /// `FUSE_DEV_IOC_CLONE`, `_IOR(229, 0, uint32_t)`: despite its direction the
    /// kernel reads the number.
    const CLONE: Opcode = opcode::read::<u32>(229, 0);

    /// Attaches `new`, a fresh descriptor of the device, to the connection of `old`.
    pub(super) fn clone(new: impl AsFd, old: BorrowedFd<'_>) -> Result<(), Errno> {
        let number = old.as_raw_fd() as u32;
        // SAFETY: the kernel reads one u32, the number of an open descriptor, through
        // the pointer, which Setter keeps valid for the call; it writes nothing.
        unsafe { ioctl(new, Setter::<CLONE, u32>::new(number)) }
    }
}
