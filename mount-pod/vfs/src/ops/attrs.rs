//! Attributes of inodes, and of the file system.

use carafe_meta::{Call, SetAttr, StatFs};
use carafe_types::{Attr, Ino, Result};

use crate::{Attributes, Vfs, file::File, vfs::Core};

impl Vfs {
    /// An inode's attributes; the length counts data that is not yet committed.
    pub async fn getattr(&self, call: &Call, ino: Ino) -> Result<Attributes> {
        let core = &*self.core;
        if let Some(node) = core.internal_node(ino) {
            return core.internal_attributes(call, node).await;
        }
        let ino = core.inner(ino)?;
        let attr = match core.files.pin(ino) {
            Some(file) => core.getattr_of(call, &file).await?,
            None => core.meta.getattr(call, ino).await?,
        };
        Ok(core.attributes(ino, attr))
    }

    /// Changes attributes; a size truncates, in order with writes.
    pub async fn setattr(&self, call: &Call, ino: Ino, set: &SetAttr) -> Result<Attributes> {
        let core = &self.core;
        if let Some(node) = core.internal_node(ino) {
            return core.internal_attributes(call, node).await;
        }
        core.check_writable()?;
        let ino = core.inner(ino)?;
        let ordered = set.size.is_some() || set.mtime.is_some() || set.mtime_now;
        let attr = match core.files.pin(ino) {
            Some(file) if ordered => core.setattr_in_order(call, &file, set).await?,
            Some(file) => core.setattr_of(call, &file, set).await?,
            None => core.meta.setattr(call, ino, set).await?,
        };
        core.recent.changed(ino);
        Ok(core.attributes(ino, attr))
    }

    /// Usage and limits: the nearest quota's above the mount's root, or the volume's.
    pub async fn statfs(&self, call: &Call) -> Result<StatFs> {
        self.core.meta.statfs(call, self.core.config.root).await
    }
}

impl Core {
    /// The attributes of a file in use: what the engine says, unless this client
    /// changed the file since it was asked, and what is dirty.
    async fn getattr_of(&self, call: &Call, file: &File) -> Result<Attr> {
        let (asked, before) = {
            let state = file.state.lock();
            (
                state.version,
                state
                    .is_dirty()
                    .then_some((state.dirty_end, state.dirty_mtime)),
            )
        };
        let mut attr = self.meta.getattr(call, file.ino).await?;
        let mut state = file.state.lock();
        state.learn(&attr, asked);
        if state.version != asked {
            return Ok(state.with_commits(attr));
        }
        // What was dirty when this began and was given up since still shows once.
        if let Some((end, mtime)) = before.filter(|_| state.is_dirty()) {
            attr.length = attr.length.max(end);
            attr.mtime = attr.mtime.max(mtime);
        }
        Ok(attr)
    }

    /// Changes attributes that writes do not touch.
    async fn setattr_of(&self, call: &Call, file: &File, set: &SetAttr) -> Result<Attr> {
        let asked = file.state.lock().version;
        let attr = self.meta.setattr(call, file.ino, set).await?;
        let mut state = file.state.lock();
        state.learn(&attr, asked);
        if state.version == asked {
            return Ok(attr);
        }
        Ok(state.with_commits(attr))
    }
}
