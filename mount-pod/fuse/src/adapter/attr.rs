//! Attributes and usage.

use carafe_types::{Result, Timestamp};
use carafe_vfs::SetAttr;

use super::{Adapter, Ask, Reply, body, given};
use crate::abi::{Args, Body, fattr};

impl Adapter {
    pub(super) async fn getattr(&self, ask: &Ask<'_>) -> Result<Reply> {
        let attributes = self.vfs.getattr(&ask.call, ask.ino()).await?;
        Ok(self.attributes(&attributes))
    }

    pub(super) async fn setattr(&self, ask: &Ask<'_>) -> Result<Reply> {
        let (set, handle) = given(changes(ask.args()))?;
        let attributes = self.vfs.setattr(&ask.call, ask.ino(), handle, &set).await?;
        Ok(self.attributes(&attributes))
    }

    /// access(2), on a mount where the kernel does not know the answer.
    pub(super) async fn access(&self, ask: &Ask<'_>) -> Result<Reply> {
        let wanted = given(ask.args().u32())?;
        self.vfs.access(&ask.call, ask.ino(), wanted as u16).await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn statfs(&self, ask: &Ask<'_>) -> Result<Reply> {
        let stat = self.vfs.statfs(&ask.call, ask.ino()).await?;
        Ok(body(Body::default().statfs(&stat)))
    }
}

/// What a SETATTR changes, and the handle that it came through.
fn changes(mut args: Args<'_>) -> Option<(SetAttr, Option<u64>)> {
    let (valid, _padding, handle, size, _owner) = (
        args.u32()?,
        args.u32()?,
        args.u64()?,
        args.u64()?,
        args.u64()?,
    );
    let secs = [args.u64()?, args.u64()?, args.u64()?];
    let nanos = [args.u32()?, args.u32()?, args.u32()?];
    let (mode, _unused, uid, gid) = (args.u32()?, args.u32()?, args.u32()?, args.u32()?);
    let has = |bit| valid & bit != 0;
    let time = |bit, index: usize| {
        has(bit).then(|| Timestamp {
            secs: secs[index] as i64,
            nanos: nanos[index],
        })
    };
    let set = SetAttr {
        mode: has(fattr::MODE).then_some((mode & 0o7777) as u16),
        uid: has(fattr::UID).then_some(uid),
        gid: has(fattr::GID).then_some(gid),
        size: has(fattr::SIZE).then_some(size),
        atime: time(fattr::ATIME, 0).filter(|_| !has(fattr::ATIME_NOW)),
        mtime: time(fattr::MTIME, 1).filter(|_| !has(fattr::MTIME_NOW)),
        ctime: time(fattr::CTIME, 2),
        atime_now: has(fattr::ATIME_NOW),
        mtime_now: has(fattr::MTIME_NOW),
        kill_suid: has(fattr::KILL_SUIDGID),
        access: false,
    };
    Some((set, has(fattr::HANDLE).then_some(handle)))
}
