//! Reading and writing.

use bytes::Bytes;
use carafe_meta::Call;
use carafe_types::{Error, Ino, Result};

use crate::{Vfs, WriteFlags};

impl Vfs {
    /// At most `len` bytes from `offset`, in pieces; fewer only at the file's end.
    /// Unwritten data is seen.
    pub async fn read(&self, call: &Call, ino: Ino, handle: u64, offset: u64, len: usize) -> Result<Vec<Bytes>> {
        let _ = (call, ino, handle, offset, len);
        Err(Error::NotImplemented)
    }

    /// Writes `data` at `offset`: answered when the bytes are in the pool, and so
    /// outlive this process. Waits while the pool is full. Fewer bytes than given only
    /// if it filled up in the middle and stayed full.
    pub async fn write(
        &self, call: &Call, ino: Ino, handle: u64, offset: u64, data: &[u8], flags: WriteFlags,
    ) -> Result<usize> {
        let _ = (call, ino, handle, offset, data, flags);
        Err(Error::NotImplemented)
    }

    /// fsync(2): what was written before is uploaded, committed and durable in the
    /// engine. `data_only` makes no difference here: a commit has both.
    pub async fn fsync(&self, call: &Call, ino: Ino, handle: u64, data_only: bool) -> Result<()> {
        let _ = (call, ino, handle, data_only);
        Err(Error::NotImplemented)
    }
}
