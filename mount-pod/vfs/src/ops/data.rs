//! Reading and writing.

use std::sync::Arc;

use bytes::Bytes;
use carafe_meta::{Call, SetAttr};
use carafe_types::{Error, Ino, Result};

use crate::{
    Vfs, WriteFlags,
    file::File,
    gate::Direction,
    handle::{Handle, Kind},
    shared::Core,
};

/// No file of the format is longer: as many chunks as their numbers count, less one
/// for the arithmetic.
const MAX_LENGTH: u64 = u32::MAX as u64 * carafe_types::CHUNK_SIZE;

impl Vfs {
    /// At most `len` bytes from `offset`, in pieces; fewer only at the file's end.
    /// Unwritten data is seen.
    pub async fn read(
        &self,
        _call: &Call,
        ino: Ino,
        handle: u64,
        offset: u64,
        len: usize,
    ) -> Result<Vec<Bytes>> {
        let core = &self.core;
        let handle = core.handles.find(ino, handle)?;
        if let Kind::Virtual(content) = &handle.kind {
            return Ok(vec![content.read(offset, len).await]);
        }
        let (file, ahead) = handle.file()?;
        if !handle.flags.readable() && !handle.flags.writable() {
            return Err(Error::BadHandle);
        }
        core.gate.admit(Direction::Read, len).await?;
        let config = &core.config;
        let windows = (u64::from(config.block_size), config.max_readahead);
        let (access, next) = ahead.read(windows, offset, len as u64);
        if let Some((turn, range)) = next {
            tokio::spawn(Arc::clone(core).read_ahead(
                Arc::clone(file),
                Arc::clone(ahead),
                turn,
                range,
            ));
        }
        let read = core.read_file(file, offset, len, access).await;
        core.note_access(file);
        read
    }

    /// Writes `data` at `offset`: answered when the bytes are in the pool, and so
    /// outlive this process. Waits while the pool is full. Fewer bytes than given only
    /// if it filled up in the middle and stayed full.
    pub async fn write(
        &self,
        call: &Call,
        ino: Ino,
        handle: u64,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
    ) -> Result<usize> {
        let core = &self.core;
        let handle = core.handles.find(ino, handle)?;
        let file = writable(&handle)?;
        core.check_writable()?;
        if offset
            .checked_add(data.len() as u64)
            .is_none_or(|end| end > MAX_LENGTH)
        {
            return Err(Error::TooLarge);
        }
        handle.tell_loss()?;
        core.gate.admit(Direction::Write, data.len()).await?;
        if flags.kill_suid || core.checks(call) {
            core.kill_suid(call, file).await?;
        }
        core.put(file, offset, data).await
    }

    /// fsync(2): what was written before is uploaded, committed and durable in the
    /// engine. `data_only` makes no difference here: a commit has both.
    pub async fn fsync(&self, call: &Call, ino: Ino, handle: u64, _data_only: bool) -> Result<()> {
        let handle = self.core.handles.find(ino, handle)?;
        if matches!(handle.kind, Kind::Virtual(_)) {
            return Ok(());
        }
        let (file, _) = handle.file()?;
        let flushed = self
            .core
            .flush_file(file, call.deadline.map(Into::into))
            .await;
        handle.tell_loss()?;
        flushed?;
        self.core.meta.sync(call).await
    }
}

impl Core {
    /// A write by others than the owner takes suid, and sgid of a program, away.
    async fn kill_suid(self: &Arc<Self>, call: &Call, file: &Arc<File>) -> Result<()> {
        let at_risk = file
            .state
            .lock()
            .attr
            .as_ref()
            .is_none_or(|attr| attr.mode & 0o6000 != 0);
        if at_risk {
            let set = SetAttr {
                kill_suid: true,
                ..SetAttr::default()
            };
            self.setattr_in_order(call, file, &set).await?;
        }
        Ok(())
    }
}

/// The file of a handle that may write.
pub(super) fn writable(handle: &Handle) -> Result<&Arc<File>> {
    if matches!(handle.kind, Kind::Virtual(_)) {
        return Err(Error::Unsupported);
    }
    let (file, _) = handle.file()?;
    if handle.flags.writable() {
        Ok(file)
    } else {
        Err(Error::BadHandle)
    }
}
