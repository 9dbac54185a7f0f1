//! Mounting and unmounting on a host, by whoever may.

use std::{
    ffi::CString,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};

/// The type that /proc/mounts shows.
const FILE_SYSTEM: &str = "fuse.carafe";

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// What /proc/mounts shows as the device.
    pub source: String,
    /// Nothing may be changed.
    pub read_only: bool,
    /// Others than the user that mounts may enter.
    pub allow_other: bool,
    /// The kernel checks permissions by the attributes that it gets; or else the file
    /// system does, which knows callers by other names than the kernel.
    pub default_permissions: bool,
    /// The most that one READ asks for, in bytes; 0 leaves it to INIT.
    pub max_read: u32,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            source: String::new(),
            read_only: false,
            allow_other: true,
            default_permissions: true,
            max_read: 0,
        }
    }
}

/// Why a mount was not made or not taken away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// There is no FUSE here.
    #[error(
        "open /dev/fuse: {0}: load the kernel's fuse module, or give this container the device"
    )]
    Device(Errno),
    /// The kernel refused the mount.
    #[error("mount: {0}{hint}", hint = mount_hint(*.0))]
    Mount(Errno),
    /// The kernel refused to unmount.
    #[error("unmount: {0}{hint}", hint = unmount_hint(*.0))]
    Unmount(Errno),
}

fn mount_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => " (mounting needs root, or CAP_SYS_ADMIN)",
        Errno::NOENT => " (make the directory first)",
        Errno::NOTCONN => " (a dead mount is there: unmount it first)",
        _ => "",
    }
}

fn unmount_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::BUSY => " (files are open there: close them, or use --force)",
        Errno::INVAL => " (nothing is mounted there)",
        _ => "",
    }
}

/// Opens the device and mounts it at `path`; the kernel then waits for a session.
pub fn mount(path: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(MountError::Device)?;
    let data = CString::new(data(&device, options)).map_err(|_| MountError::Mount(Errno::INVAL))?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    if options.read_only {
        flags |= MountFlags::RDONLY;
    }
    let source = if options.source.is_empty() {
        "carafe"
    } else {
        &options.source
    };
    rustix::mount::mount(source, path, FILE_SYSTEM, flags, Some(data.as_c_str()))
        .map_err(MountError::Mount)?;
    Ok(device)
}

/// The options in the kernel's form.
fn data(device: &OwnedFd, options: &MountOptions) -> String {
    let device = device.as_raw_fd();
    let others = if options.allow_other {
        ",allow_other"
    } else {
        ""
    };
    let checks = if options.default_permissions {
        ",default_permissions"
    } else {
        ""
    };
    let max_read = options.max_read;
    let most = if max_read > 0 {
        format!(",max_read={max_read}")
    } else {
        String::new()
    };
    format!("fd={device},rootmode=40000,user_id=0,group_id=0{checks}{others}{most}")
}

/// Unmounts if nobody uses it.
pub fn unmount(path: &Path) -> Result<(), MountError> {
    rustix::mount::unmount(path, UnmountFlags::NOFOLLOW).map_err(MountError::Unmount)
}

/// Takes the mount out of the tree at once; it ends when its last user is gone.
pub fn detach(path: &Path) -> Result<(), MountError> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(MountError::Unmount)
}
