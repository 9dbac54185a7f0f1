//! Extended attributes.

use carafe_types::{Error, Result};
use carafe_vfs::XattrMode;

use super::{Adapter, Ask, Reply, body, given};
use crate::abi::Body;

/// setxattr(2)'s flags.
const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;
/// The longer request's flag: an access control list takes the sgid bit away.
const ACL_KILL_SGID: u32 = 1;

impl Adapter {
    pub(super) async fn setxattr(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (size, flags) = (given(args.u32())? as usize, given(args.u32())?);
        let more = if self.long_setxattr() {
            let (more, _padding) = (given(args.u32())?, given(args.u32())?);
            more
        } else {
            0
        };
        let (name, value) = (given(args.name())?, given(args.bytes(size))?);
        let mode = match flags {
            0 => XattrMode::Any,
            XATTR_CREATE => XattrMode::Create,
            XATTR_REPLACE => XattrMode::Replace,
            _ => return Err(Error::Invalid),
        };
        let kill_sgid = more & ACL_KILL_SGID != 0;
        self.vfs
            .setxattr(&ask.call, ask.ino(), name, value, mode, kill_sgid)
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn getxattr(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut args = ask.args();
        let (size, _padding) = (given(args.u32())? as usize, given(args.u32())?);
        let name = given(args.name())?;
        sized(self.vfs.getxattr(&ask.call, ask.ino(), name).await?, size)
    }

    pub(super) async fn listxattr(&self, ask: &Ask<'_>) -> Result<Reply> {
        let size = given(ask.args().u32())? as usize;
        let names = self.vfs.listxattr(&ask.call, ask.ino()).await?;
        let mut list = Vec::new();
        for name in names {
            list.extend_from_slice(&name);
            list.push(0);
        }
        sized(list, size)
    }

    pub(super) async fn removexattr(&self, ask: &Ask<'_>) -> Result<Reply> {
        let name = given(ask.args().name())?;
        self.vfs.removexattr(&ask.call, ask.ino(), name).await?;
        Ok(Reply::Empty)
    }
}

/// A room of 0 asks for the length; one that is too small is an error.
fn sized(value: Vec<u8>, room: usize) -> Result<Reply> {
    if room == 0 {
        return Ok(body(Body::default().u32(value.len() as u32).u32(0)));
    }
    if value.len() > room {
        Err(Error::OutOfRange)
    } else {
        Ok(Reply::Body(value))
    }
}
