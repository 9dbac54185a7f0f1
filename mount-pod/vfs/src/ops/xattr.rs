//! Extended attributes.

use carafe_meta::{Call, XattrMode};
use carafe_types::{Error, Ino, Result};

use crate::{Vfs, vfs::Core};

const MAX_NAME: usize = 255;
const MAX_VALUE: usize = 64 << 10;

impl Vfs {
    /// An extended attribute's value.
    pub async fn getxattr(&self, call: &Call, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let ino = self.core.attributed(ino)?;
        check_name(name)?;
        self.core.meta.getxattr(call, ino, name).await
    }

    /// The names of all extended attributes.
    pub async fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<Vec<u8>>> {
        if self.core.internal_node(ino).is_some() {
            return Ok(Vec::new());
        }
        self.core.meta.listxattr(call, self.core.inner(ino)?).await
    }

    /// Sets an extended attribute.
    pub async fn setxattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.core.check_writable()?;
        check_name(name)?;
        if value.len() > MAX_VALUE {
            return Err(Error::OutOfRange);
        }
        let ino = self.core.attributed(ino)?;
        self.core.meta.setxattr(call, ino, name, value, mode).await
    }

    /// Removes an extended attribute.
    pub async fn removexattr(&self, call: &Call, ino: Ino, name: &[u8]) -> Result<()> {
        self.core.check_writable()?;
        check_name(name)?;
        let ino = self.core.attributed(ino)?;
        self.core.meta.removexattr(call, ino, name).await
    }
}

impl Core {
    /// An inode that can have extended attributes: virtual files have none.
    fn attributed(&self, ino: Ino) -> Result<Ino> {
        if self.internal_node(ino).is_some() {
            Err(Error::NoAttribute)
        } else {
            self.inner(ino)
        }
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    match name.len() {
        0 => Err(Error::Invalid),
        1..=MAX_NAME => Ok(()),
        _ => Err(Error::OutOfRange),
    }
}
