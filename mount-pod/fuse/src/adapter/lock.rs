//! BSD and POSIX locks.

use carafe_types::{Error, Result};
use carafe_vfs::{FileLock, LockKind, LockRange};

use super::{Adapter, Ask, Reply, body, given};
use crate::abi::{Args, Body, LK_FLOCK, op};

// Their type is another with musl.
#[allow(clippy::unnecessary_cast)]
const F_RDLCK: i32 = libc::F_RDLCK as i32;
#[allow(clippy::unnecessary_cast)]
const F_WRLCK: i32 = libc::F_WRLCK as i32;
#[allow(clippy::unnecessary_cast)]
const F_UNLCK: i32 = libc::F_UNLCK as i32;

/// What GETLK, SETLK and SETLKW carry.
struct LockArgs {
    owner: u64,
    lock: FileLock,
    flock: bool,
}

impl Adapter {
    pub(super) async fn getlk(&self, ask: &Ask<'_>) -> Result<Reply> {
        let LockArgs { owner, lock, .. } = lock_args(ask.args())?;
        let conflict = self.vfs.getlk(&ask.call, ask.ino(), owner, lock).await?;
        let told = conflict.unwrap_or(FileLock {
            kind: LockKind::Unlock,
            pid: 0,
            ..lock
        });
        let (range, kind) = (told.range, raw(told.kind));
        Ok(body(
            Body::default()
                .u64(range.start)
                .u64(range.end)
                .u32(kind as u32)
                .u32(told.pid),
        ))
    }

    pub(super) async fn setlk(&self, ask: &Ask<'_>) -> Result<Reply> {
        let LockArgs { owner, lock, flock } = lock_args(ask.args())?;
        let waits = ask.header.opcode == op::SETLKW;
        let (call, ino) = (&ask.call, ask.ino());
        match (flock, waits) {
            (true, _) => {
                self.vfs
                    .flock(call, ino, owner, lock.kind, waits.then_some(ask.cancel))
                    .await?;
            }
            (false, true) => self.vfs.setlkw(call, ino, owner, lock, ask.cancel).await?,
            (false, false) => self.vfs.setlk(call, ino, owner, lock).await?,
        }
        Ok(Reply::Empty)
    }
}

fn lock_args(mut args: Args<'_>) -> Result<LockArgs> {
    let (_handle, owner) = (given(args.u64())?, given(args.u64())?);
    let range = LockRange {
        start: given(args.u64())?,
        end: given(args.u64())?,
    };
    let (kind, pid, flags) = (given(args.u32())?, given(args.u32())?, given(args.u32())?);
    let kind = match kind as i32 {
        F_RDLCK => LockKind::Read,
        F_WRLCK => LockKind::Write,
        F_UNLCK => LockKind::Unlock,
        _ => return Err(Error::Invalid),
    };
    Ok(LockArgs {
        owner,
        lock: FileLock { kind, range, pid },
        flock: flags & LK_FLOCK != 0,
    })
}

fn raw(kind: LockKind) -> i32 {
    match kind {
        LockKind::Read => F_RDLCK,
        LockKind::Write => F_WRLCK,
        LockKind::Unlock => F_UNLCK,
    }
}
