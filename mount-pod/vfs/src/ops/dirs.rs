//! Directories: listing them from stateless cookies.

use carafe_meta::Call;
use carafe_types::{Error, Ino, Result};

use crate::{DirItem, Opened, Vfs};

impl Vfs {
    /// Opens a directory.
    pub async fn opendir(&self, call: &Call, ino: Ino) -> Result<Opened> {
        let _ = (call, ino);
        Err(Error::NotImplemented)
    }

    /// At most `limit` entries behind `cookie` (0 is the start); none at the end.
    /// With `plus`, each has what a lookup would answer. Entries that the caller has
    /// no room for are asked for again by their cookie.
    pub async fn readdir(
        &self, call: &Call, ino: Ino, handle: u64, cookie: u64, limit: usize, plus: bool,
    ) -> Result<Vec<DirItem>> {
        let _ = (call, ino, handle, cookie, limit, plus);
        Err(Error::NotImplemented)
    }

    /// Closes a directory.
    pub async fn releasedir(&self, call: &Call, ino: Ino, handle: u64) -> Result<()> {
        let _ = (call, ino, handle);
        Err(Error::NotImplemented)
    }

    /// fsync(2) of a directory: what was answered before is durable in the engine.
    pub async fn fsyncdir(&self, call: &Call, _ino: Ino, _handle: u64) -> Result<()> {
        self.core.meta.sync(call).await
    }
}
