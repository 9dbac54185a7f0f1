//! Opening, making and closing files.

use carafe_meta::Call;
use carafe_types::{Error, Ino, Result};

use crate::{Created, OpenFlags, Opened, Vfs};

impl Vfs {
    /// Opens a file. `O_TRUNC` truncates it, in order with writes.
    pub async fn open(&self, call: &Call, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        let _ = (call, ino, flags);
        Err(Error::NotImplemented)
    }

    /// Opens `name`, making it if it is not there (`O_CREAT`).
    pub async fn create(
        &self, call: &Call, parent: Ino, name: &[u8], mode: u32, umask: u16, flags: OpenFlags,
    ) -> Result<Created> {
        let _ = (call, parent, name, mode, umask, flags);
        Err(Error::NotImplemented)
    }

    /// close(2): everything of the file that was written is uploaded and committed,
    /// or the error is told. `owner`'s POSIX locks of the file go.
    pub async fn flush(&self, call: &Call, ino: Ino, handle: u64, owner: u64) -> Result<()> {
        let _ = (call, ino, handle, owner);
        Err(Error::NotImplemented)
    }

    /// The last reference to the handle is gone. `flock_owner` names a BSD lock that
    /// was taken through it and goes now. Errors have nobody to be told to.
    pub async fn release(&self, call: &Call, ino: Ino, handle: u64, flock_owner: Option<u64>) -> Result<()> {
        let _ = (call, ino, handle, flock_owner);
        Err(Error::NotImplemented)
    }
}
