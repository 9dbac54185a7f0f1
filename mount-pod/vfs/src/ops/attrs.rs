//! Attributes of inodes, and of the file system.

use carafe_meta::{Call, SetAttr, StatFs};
use carafe_types::{Ino, Result};

use crate::{Attributes, Vfs};

impl Vfs {
    /// An inode's attributes; the length counts data that is not yet committed.
    pub async fn getattr(&self, call: &Call, ino: Ino) -> Result<Attributes> {
        let core = &*self.core;
        if let Some(node) = core.internal_node(ino) {
            return core.internal_attributes(call, node).await;
        }
        let ino = core.inner(ino)?;
        let attr = core.meta.getattr(call, ino).await?;
        Ok(core.attributes(ino, attr))
    }

    /// Changes attributes; a size truncates, in order with writes.
    pub async fn setattr(&self, call: &Call, ino: Ino, set: &SetAttr) -> Result<Attributes> {
        let core = &*self.core;
        if let Some(node) = core.internal_node(ino) {
            return core.internal_attributes(call, node).await;
        }
        core.check_writable()?;
        let ino = core.inner(ino)?;
        let attr = core.meta.setattr(call, ino, set).await?;
        Ok(core.attributes(ino, attr))
    }

    /// Usage and limits: the nearest quota's above the mount's root, or the volume's.
    pub async fn statfs(&self, call: &Call) -> Result<StatFs> {
        self.core.meta.statfs(call, self.core.config.root).await
    }
}
