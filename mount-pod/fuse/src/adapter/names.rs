//! Names: lookup, making, linking, removing, renaming.

use carafe_types::{Error, Ino, Result};
use carafe_vfs::RenameFlags;

use super::{Adapter, Ask, Reply, body, given};
use crate::abi::Body;

/// renameat2(2)'s flags.
const RENAME_NOREPLACE: u32 = 1;
const RENAME_EXCHANGE: u32 = 2;

impl Adapter {
    pub(super) async fn lookup(&self, ask: &Ask<'_>) -> Result<Reply> {
        let name = given(ask.args().name())?;
        let found = self.vfs.lookup(&ask.call, ask.ino(), name).await;
        let negative = self.vfs.negative_timeout();
        match found {
            Err(Error::NotFound) if !negative.is_zero() => {
                Ok(body(Body::default().absent(negative)))
            }
            found => Ok(self.entry(&found?)),
        }
    }

    pub(super) async fn readlink(&self, ask: &Ask<'_>) -> Result<Reply> {
        Ok(Reply::Body(self.vfs.readlink(&ask.call, ask.ino()).await?))
    }

    pub(super) async fn symlink(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (name, target) = (given(args.name())?, given(args.name())?);
        let entry = self.vfs.symlink(&ask.call, ask.ino(), name, target).await?;
        Ok(self.entry(&entry))
    }

    pub(super) async fn mknod(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        // Without ACLs the kernel has applied the umask already; twice is as well.
        let (mode, rdev) = (given(args.u32())?, given(args.u32())?);
        let (umask, _padding) = (given(args.u32())?, given(args.u32())?);
        let name = given(args.name())?;
        let entry = self
            .vfs
            .mknod(&ask.call, ask.ino(), name, mode, umask as u16, rdev)
            .await?;
        Ok(self.entry(&entry))
    }

    pub(super) async fn mkdir(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (mode, umask) = (given(args.u32())?, given(args.u32())?);
        let name = given(args.name())?;
        let entry = self
            .vfs
            .mkdir(&ask.call, ask.ino(), name, mode, umask as u16)
            .await?;
        Ok(self.entry(&entry))
    }

    pub(super) async fn unlink(&self, ask: &Ask<'_>) -> Result<Reply> {
        self.vfs
            .unlink(&ask.call, ask.ino(), given(ask.args().name())?)
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn rmdir(&self, ask: &Ask<'_>) -> Result<Reply> {
        self.vfs
            .rmdir(&ask.call, ask.ino(), given(ask.args().name())?)
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn link(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (ino, name) = (Ino(given(args.u64())?), given(args.name())?);
        let entry = self.vfs.link(&ask.call, ino, ask.ino(), name).await?;
        Ok(self.entry(&entry))
    }

    pub(super) async fn rename(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let to = Ino(given(args.u64())?);
        let (name, new_name) = (given(args.name())?, given(args.name())?);
        self.vfs
            .rename(&ask.call, ask.ino(), name, to, new_name, RenameFlags::None)
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn rename2(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let to = Ino(given(args.u64())?);
        let (flags, _padding) = (given(args.u32())?, given(args.u32())?);
        let flags = match flags {
            0 => RenameFlags::None,
            RENAME_NOREPLACE => RenameFlags::NoReplace,
            RENAME_EXCHANGE => RenameFlags::Exchange,
            // WHITEOUT, as the peer.
            _ => return Err(Error::Unsupported),
        };
        let (name, new_name) = (given(args.name())?, given(args.name())?);
        self.vfs
            .rename(&ask.call, ask.ino(), name, to, new_name, flags)
            .await?;
        Ok(Reply::Empty)
    }
}
