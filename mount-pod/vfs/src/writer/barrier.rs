//! Operations that must be ordered among a file's writes and commits.
//!
//! A **hold** keeps commits of one file from starting, and waits for the one under
//! way. Uploads go on: where bytes lie in the store orders nothing.

use std::sync::Arc;

use carafe_meta::{Call, SetAttr};
use carafe_types::{Attr, Result};
use tokio::time::Instant;

use crate::{file::File, shared::Core, writer::flush::wait};

/// While it lives, nothing of the file is committed.
pub(crate) struct Hold {
    core: Arc<Core>,
    file: Arc<File>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.file.state.lock().held = false;
        self.file.changed.notify_waiters();
        self.core.commits.enqueue(&self.file);
    }
}

impl Core {
    /// Takes the hold of a file.
    pub(crate) async fn hold(self: &Arc<Self>, call: &Call, file: &Arc<File>) -> Result<Hold> {
        let take = || {
            let mut state = file.state.lock();
            let free = !state.held && !state.committing;
            state.held |= free;
            free.then_some(())
        };
        wait(file, Some(self.deadline(call)), take).await?;
        Ok(Hold {
            core: Arc::clone(self),
            file: Arc::clone(file),
        })
    }

    /// Until when a call may wait for the store and the engine.
    pub(crate) fn deadline(&self, call: &Call) -> Instant {
        call.deadline.map_or_else(
            || Instant::now() + self.config.write_wait,
            Instant::from_std,
        )
    }

    /// Changes attributes in order with writes. What is dirty behind a new length is
    /// cut off without a flush: the engine zeroes what it cuts and what it grows by,
    /// and what stays dirty lies before the new end, so committing it later is right.
    /// A time that was set stays: commits to come bring it again.
    pub(crate) async fn setattr_in_order(
        self: &Arc<Self>,
        call: &Call,
        file: &Arc<File>,
        set: &SetAttr,
    ) -> Result<Attr> {
        let _order = match set.size {
            Some(_) => Some(file.order.write().await),
            None => None,
        };
        let _hold = self.hold(call, file).await?;
        let attr = self.meta.setattr(call, file.ino, set).await?;
        let mut garbage = Vec::new();
        let mut state = file.state.lock();
        if let Some(size) = set.size {
            state.lists.clear();
            state.cut(size, &mut garbage);
        }
        if set.size.is_some() || set.mtime.is_some() || set.mtime_now {
            state.dirty_mtime = attr.mtime;
            state
                .dirty
                .values_mut()
                .flat_map(|queue| &mut queue.logs)
                .for_each(|log| log.mtime = attr.mtime);
        }
        state.changed_by_us(attr.clone());
        let attr = state.with_dirty(attr);
        drop(state);
        self.discard(garbage);
        Ok(attr)
    }
}
