//! Space within files: fallocate, seeking data and holes, copying ranges.

use carafe_meta::{Call, Fallocate};
use carafe_types::{Error, Ino, Result};

use crate::{Vfs, Whence};

impl Vfs {
    /// fallocate(2), in order with writes.
    pub async fn fallocate(
        &self, call: &Call, ino: Ino, handle: u64, how: Fallocate, offset: u64, len: u64,
    ) -> Result<()> {
        let _ = (call, ino, handle, how, offset, len);
        Err(Error::NotImplemented)
    }

    /// The next data or hole from `offset`; `NoSuchOffset` behind the end.
    pub async fn lseek(&self, call: &Call, ino: Ino, handle: u64, offset: u64, whence: Whence) -> Result<u64> {
        let _ = (call, ino, handle, offset, whence);
        Err(Error::NotImplemented)
    }

    /// Copies by reference; answers how many bytes. The handles must be open for
    /// reading and for writing.
    pub async fn copy_file_range(
        &self, call: &Call, from: (Ino, u64, u64), to: (Ino, u64, u64), len: u64,
    ) -> Result<u64> {
        let _ = (call, from, to, len);
        Err(Error::NotImplemented)
    }
}
