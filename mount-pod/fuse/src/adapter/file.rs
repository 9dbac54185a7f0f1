//! Open files.

use carafe_types::{Error, Ino, Result};
use carafe_vfs::{Call, Fallocate, OpenFlags, Opened, SetAttr, Whence, WriteFlags};

use super::{Adapter, Ask, Reply, body, given};
use crate::abi::{Body, FSYNC_DATA_ONLY, RELEASE_FLOCK_UNLOCK, write_flag};

/// OPEN's flag: the truncation clears suid and sgid.
const OPEN_KILL_SUIDGID: u32 = 1;
/// WRITE's arguments end here, counted from the message's start.
const WRITE_DATA: usize = crate::abi::HEADER_LEN + 40;

/// fallocate(2)'s modes.
const KEEP_SIZE: u32 = 0x01;
const PUNCH_HOLE: u32 = 0x02;
const ZERO_RANGE: u32 = 0x10;
/// What fallocate(1) asks for to punch; without KEEP_SIZE the kernel refuses it.
const PUNCH: u32 = PUNCH_HOLE | KEEP_SIZE;
const ZERO_KEEP: u32 = ZERO_RANGE | KEEP_SIZE;

impl Adapter {
    pub(super) async fn open(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (flags, open_flags) = (OpenFlags(given(args.u32())?), given(args.u32())?);
        if flags.truncate() && open_flags & OPEN_KILL_SUIDGID != 0 {
            let kill = SetAttr {
                kill_suid: true,
                ..SetAttr::default()
            };
            // The key is the truncation's; this may be done again.
            let call = Call {
                key: None,
                ..ask.call.clone()
            };
            self.vfs.setattr(&call, ask.ino(), None, &kill).await?;
        }
        let opened = self.vfs.open(&ask.call, ask.ino(), flags).await?;
        if self.forgets_what_is_old(ask, &opened)
            && flags.append()
            && self.told.asks_again(ask.opener())
        {
            let handle = opened.handle;
            self.vfs.release(&ask.call, ask.ino(), handle, None).await?;
            return Err(Error::Stale(
                "the file has grown since the kernel looked".into(),
            ));
        }
        Ok(body(Body::default().opened(&opened)))
    }

    pub(super) async fn create(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (flags, mode) = (OpenFlags(given(args.u32())?), given(args.u32())?);
        let (umask, _open_flags) = (given(args.u32())?, given(args.u32())?);
        let name = given(args.name())?;
        let created = self
            .vfs
            .create(&ask.call, ask.ino(), name, mode, umask as u16, flags)
            .await?;
        self.told.tell(created.entry.ino, &created.entry.attr);
        Ok(body(
            Body::default()
                .entry(&created.entry)
                .opened(&created.opened),
        ))
    }

    /// The kernel goes on with the attributes that it has, and reads to the end that
    /// they name. So it must have forgotten old ones before it learns of the handle.
    fn forgets_what_is_old(&self, ask: &Ask<'_>, opened: &Opened) -> bool {
        let known = opened.attr.as_ref();
        let is_old = known.is_some_and(|attr| !self.told.knows(ask.ino(), attr));
        if is_old {
            self.notifier.forget_attributes(ask.ino());
        } else {
            self.told.has_asked(ask.opener());
        }
        is_old
    }

    pub(super) async fn read(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (handle, offset, size) = (given(args.u64())?, given(args.u64())?, given(args.u32())?);
        let parts = self
            .vfs
            .read(&ask.call, ask.ino(), handle, offset, size as usize)
            .await?;
        Ok(Reply::Data(parts))
    }

    pub(super) async fn write(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (handle, offset, size) = (
            given(args.u64())?,
            given(args.u64())?,
            given(args.u32())? as usize,
        );
        let flags = given(args.u32())?;
        let flags = WriteFlags {
            cached: flags & write_flag::CACHE != 0,
            kill_suid: flags & write_flag::KILL_SUIDGID != 0,
        };
        let data = given(ask.request.bytes().get(WRITE_DATA..WRITE_DATA + size))?;
        let written = self
            .vfs
            .write(&ask.call, ask.ino(), handle, offset, data, flags)
            .await?;
        Ok(body(Body::default().u32(written as u32).u32(0)))
    }

    pub(super) async fn flush(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (handle, _unused, owner) = (given(args.u64())?, given(args.u64())?, given(args.u64())?);
        self.vfs.flush(&ask.call, ask.ino(), handle, owner).await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn release(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (handle, _flags, release_flags) =
            (given(args.u64())?, given(args.u32())?, given(args.u32())?);
        let owner = given(args.u64())?;
        let flock_owner = (release_flags & RELEASE_FLOCK_UNLOCK != 0).then_some(owner);
        self.vfs
            .release(&ask.call, ask.ino(), handle, flock_owner)
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn fsync(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (handle, flags) = (given(args.u64())?, given(args.u32())?);
        self.vfs
            .fsync(&ask.call, ask.ino(), handle, flags & FSYNC_DATA_ONLY != 0)
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn fallocate(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (handle, offset, len) = (given(args.u64())?, given(args.u64())?, given(args.u64())?);
        let how = match given(args.u32())? {
            0 => Fallocate::Grow,
            KEEP_SIZE => Fallocate::KeepSize,
            PUNCH => Fallocate::PunchHole,
            ZERO_RANGE => Fallocate::ZeroRange,
            ZERO_KEEP => Fallocate::ZeroRangeKeepSize,
            _ => return Err(Error::Unsupported),
        };
        self.vfs
            .fallocate(&ask.call, ask.ino(), handle, how, offset, len)
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn lseek(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (handle, offset) = (given(args.u64())?, given(args.u64())?);
        let whence = match given(args.u32())? as i32 {
            libc::SEEK_DATA => Whence::Data,
            libc::SEEK_HOLE => Whence::Hole,
            _ => return Err(Error::Invalid),
        };
        let found = self
            .vfs
            .lseek(&ask.call, ask.ino(), handle, offset, whence)
            .await?;
        Ok(body(Body::default().u64(found)))
    }

    /// The older form, whose reply counts in 32 bits.
    pub(super) async fn copy_file_range(&self, ask: &Ask<'_>) -> Result<Reply> {
        let copied = self.copy(ask).await?;
        Ok(body(Body::default().u32(copied as u32).u32(0)))
    }

    pub(super) async fn copy_file_range_64(&self, ask: &Ask<'_>) -> Result<Reply> {
        Ok(body(Body::default().u64(self.copy(ask).await?)))
    }

    async fn copy(&self, ask: &Ask<'_>) -> Result<u64> {
        let mut args = ask.args();
        let from = (ask.ino(), given(args.u64())?, given(args.u64())?);
        let to = (
            Ino(given(args.u64())?),
            given(args.u64())?,
            given(args.u64())?,
        );
        // Bounds one transaction, and fits either reply; the caller asks for the rest.
        let len = given(args.u64())?.min(1 << 30);
        self.vfs.copy_file_range(&ask.call, from, to, len).await
    }
}
