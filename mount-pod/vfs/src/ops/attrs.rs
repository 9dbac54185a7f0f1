//! Attributes of inodes, and of the file system.

use std::sync::Arc;

use carafe_meta::{Call, SetAttr, StatFs};
use carafe_types::{Attr, Ino, Result, Timestamp};

use crate::{Atime, Attributes, Vfs, file::File, shared::Core};

impl Vfs {
    /// An inode's attributes; the length counts data that is not yet committed.
    pub async fn getattr(&self, call: &Call, ino: Ino) -> Result<Attributes> {
        let core = &*self.core;
        if let Some(node) = core.internal_node(ino) {
            return core.internal_attributes(call, node).await;
        }
        let ino = core.inner(ino)?;
        if let Some(file) = core.files.pin(ino) {
            let attr = core.getattr_of(call, &file).await?;
            return Ok(core.attributes(ino, attr));
        }
        let trust = core.config.attr_timeout;
        let (attr, age) = core.meta.getattr_lately(call, ino, trust).await?;
        let attributes = core.attributes(ino, attr);
        // The kernel trusts them for the rest of their time.
        let ttl = attributes.ttl.saturating_sub(age);
        Ok(Attributes { ttl, ..attributes })
    }

    /// Changes attributes; a size truncates, in order with writes. `handle` is the open
    /// file that it came through, if any.
    pub async fn setattr(
        &self,
        call: &Call,
        ino: Ino,
        handle: Option<u64>,
        set: &SetAttr,
    ) -> Result<Attributes> {
        let core = &self.core;
        if let Some(node) = core.internal_node(ino) {
            return core.internal_attributes(call, node).await;
        }
        core.check_writable()?;
        let handle = handle.and_then(|handle| core.handles.find(ino, handle).ok());
        let opened = handle.is_some_and(|handle| handle.flags.writable());
        let ino = core.inner(ino)?;
        core.permit_setattr(call, ino, set, opened).await?;
        let set = &SetAttr {
            kill_suid: set.kill_suid || (set.size.is_some() && core.checks(call)),
            ..set.clone()
        };
        let ordered = set.size.is_some() || set.mtime.is_some() || set.mtime_now;
        let attr = match core.files.pin(ino) {
            Some(file) if ordered => core.setattr_in_order(call, &file, set).await?,
            Some(file) => core.setattr_of(call, &file, set).await?,
            None => core.meta.setattr(call, ino, set).await?,
        };
        core.recent.changed(ino);
        Ok(core.attributes(ino, attr))
    }

    /// Usage and limits as they show at an inode: the nearest quota's above it, or the
    /// volume's.
    pub async fn statfs(&self, call: &Call, ino: Ino) -> Result<StatFs> {
        let core = &self.core;
        let internal = core.internal_node(ino).is_some();
        let at = if internal {
            core.config.root
        } else {
            core.inner(ino)?
        };
        core.meta.statfs(call, at).await
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

    /// Notes a read as the file's last access, if the mount does. Nobody waits for it, and
    /// nothing is lost if it fails.
    pub(crate) fn note_access(self: &Arc<Self>, file: &Arc<File>) {
        if self.config.atime == Atime::Never || self.config.read_only {
            return;
        }
        let now = self.clock.now();
        let due = {
            let mut state = file.state.lock();
            let due = state
                .attr
                .as_ref()
                .is_some_and(|attr| is_due(self.config.atime, attr, now));
            // Set at once, so that the next reads do not ask too.
            if let Some(attr) = state.attr.as_mut().filter(|_| due) {
                attr.atime = now;
            }
            due
        };
        if !due {
            return;
        }
        let (core, file) = (Arc::clone(self), Arc::clone(file));
        tokio::spawn(async move {
            let set = SetAttr {
                access: true,
                ..SetAttr::default()
            };
            let call = core.own_call();
            if let Err(error) = core.setattr_of(&call, &file, &set).await {
                tracing::debug!(ino = %file.ino, %error, "an access was not noted");
            }
        });
    }
}

/// Whether a read now is to be noted.
fn is_due(mode: Atime, attr: &Attr, now: Timestamp) -> bool {
    let age = now.secs - attr.atime.secs;
    match mode {
        Atime::Never => false,
        Atime::Relative => attr.atime <= attr.mtime || attr.atime <= attr.ctime || age >= 24 * 3600,
        Atime::Strict => age >= 1,
    }
}
