//! BSD and POSIX locks. Waiting is done here, by asking again.

use std::time::Duration;

use carafe_meta::{Call, FileLock, LockKind};
use carafe_types::{Error, Ino, Result};
use tokio_util::sync::CancellationToken;

use crate::Vfs;

/// The kernel's name for who holds a lock.
pub type LockOwner = u64;

/// The pauses between two attempts grow to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

impl Vfs {
    /// The first POSIX lock that stands in the way of `lock`, if any.
    pub async fn getlk(
        &self,
        call: &Call,
        ino: Ino,
        owner: LockOwner,
        lock: FileLock,
    ) -> Result<Option<FileLock>> {
        let ino = self.core.ordinary(ino)?;
        self.core.meta.getlk(call, ino, owner, lock).await
    }

    /// Takes or drops a POSIX lock; `WouldBlock` if another stands in the way.
    pub async fn setlk(
        &self,
        call: &Call,
        ino: Ino,
        owner: LockOwner,
        lock: FileLock,
    ) -> Result<()> {
        let ino = self.core.ordinary(ino)?;
        if let Some(file) = self.core.files.find(ino) {
            file.state.lock().posix_locked = true;
        }
        self.core.meta.setlk(call, ino, owner, lock).await
    }

    /// Takes a POSIX lock, waiting until it is free or `cancel` says `Interrupted`.
    /// Cancelling never leaves a lock behind that nobody was told of.
    pub async fn setlkw(
        &self,
        call: &Call,
        ino: Ino,
        owner: LockOwner,
        lock: FileLock,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let mut pauses = Pauses::default();
        loop {
            match self.setlk(call, ino, owner, lock).await {
                Err(Error::WouldBlock) => pauses.wait(cancel).await?,
                done => return done,
            }
        }
    }

    /// flock(2); with `wait` as [`Vfs::setlkw`] waits.
    pub async fn flock(
        &self,
        call: &Call,
        ino: Ino,
        owner: LockOwner,
        kind: LockKind,
        wait: Option<&CancellationToken>,
    ) -> Result<()> {
        let inner = self.core.ordinary(ino)?;
        let mut pauses = Pauses::default();
        loop {
            match (self.core.meta.flock(call, inner, owner, kind).await, wait) {
                (Err(Error::WouldBlock), Some(cancel)) => pauses.wait(cancel).await?,
                (done, _) => return done,
            }
        }
    }
}

/// Pauses that double from a millisecond.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(Duration::from_millis(1))
    }
}

impl Pauses {
    async fn wait(&mut self, cancel: &CancellationToken) -> Result<()> {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = cancel.cancelled() => Err(Error::Interrupted),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}
