//! Mounts on the node: the only place of the plugin that calls mount(2).
//!
//! What is mounted where is read from mountinfo ([`table`]), never found out by
//! touching a path: a call on a mount whose client is dead or hung would wait for
//! it. Paths are made absolute by their parent, which is never a mount of ours.

mod bind;
mod fuse;
mod table;

pub use bind::{bind, make_directory, remove_directory, unmount, unmount_lazily};
pub use fuse::{
    FUSE_TYPE, MountError, cache_directory, clone_device, is_fuse_device, mount_fuse, open_device,
};
pub use table::{MountEntry, MountTable};

use std::{
    io,
    path::{Path, PathBuf},
};

/// The path as mountinfo spells it: its parent without symbolic links, and its own
/// last part untouched.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a path without a last part",
        ));
    };
    match parent.canonicalize() {
        Ok(parent) => Ok(parent.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}
