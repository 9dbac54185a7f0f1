//! What operations and background tasks share, and what the kernel learns of it.
//!
//! Each family of operations adds its own methods to [`Core`]; the state that it needs
//! there lies in modules that do not know of it.

use std::sync::{Arc, atomic::AtomicU64};

use carafe_chunk::BlockStore;
use carafe_meta::{Call, Meta};
use carafe_state::Region;
use carafe_types::{Attr, Clock, Error, Ino, Result, SessionId};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::DropGuard;

use crate::{
    Attributes, Config, Entry,
    compact::chunks::Compactions,
    file::table::Files,
    gate::Gate,
    handle::Handles,
    invalidate::Notices,
    operations::Operations,
    reader::neighbours::Neighbours,
    recent::{Asked, Recent},
    writer::commits::Commits,
};

/// How often an answer is asked for again that a change may have overtaken. A file that
/// changes that often is in use, and then known without asking.
const ASK_AGAIN: usize = 4;

/// A mounted file system. Dropping it stops its background tasks; call
/// [`Vfs::drain`] before, or unwritten data waits for a successor.
pub struct Vfs {
    pub(crate) core: Arc<Core>,
    /// Ends the background tasks when it is dropped.
    pub(crate) _stop: DropGuard,
}

/// What operations and background tasks share.
pub(crate) struct Core {
    pub(crate) meta: Arc<dyn Meta>,
    pub(crate) blocks: Arc<BlockStore>,
    pub(crate) region: Region,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Config,
    pub(crate) notices: Notices,
    pub(crate) gate: Gate,
    pub(crate) handles: Handles,
    pub(crate) files: Arc<Files>,
    pub(crate) commits: Commits,
    pub(crate) compactions: Compactions,
    pub(crate) recent: Recent,
    pub(crate) neighbours: Neighbours,
    pub(crate) operations: Operations,
    /// Wakes the flusher because the pool runs out.
    pub(crate) pressure: Notify,
    /// Held by the one who takes slice ids from the engine.
    pub(crate) refill: Mutex<()>,
    /// The next number in the order of pieces and commits.
    pub(crate) orders: AtomicU64,
}

impl Core {
    /// The mount's session.
    pub(crate) fn session(&self) -> SessionId {
        SessionId(self.region.session())
    }

    /// The inode that the kernel's number means: 1 is the mount's root.
    pub(crate) fn inner(&self, ino: Ino) -> Result<Ino> {
        if ino == Ino::ROOT {
            return Ok(self.config.root);
        }
        // The volume's own root cannot be named from below a sub-directory, and the
        // trash only where it is shown.
        if ino.is_trash() && self.config.hide_internal {
            Err(Error::NotFound)
        } else {
            Ok(ino)
        }
    }

    /// The kernel's number of an inode.
    pub(crate) fn outer(&self, ino: Ino) -> Ino {
        if ino == self.config.root {
            Ino::ROOT
        } else {
            ino
        }
    }

    /// Refuses on a read-only mount.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.config.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// What the kernel learns of a name.
    pub(crate) fn entry(&self, ino: Ino, attr: Attr) -> Entry {
        let attr = self.with_dirty(ino, attr);
        let entry_ttl = if attr.is_dir() {
            self.config.dir_entry_timeout
        } else {
            self.config.entry_timeout
        };
        Entry {
            ino: self.outer(ino),
            generation: 1,
            attr,
            attr_ttl: self.config.attr_timeout,
            entry_ttl,
        }
    }

    /// What the kernel learns of a name that was looked for.
    pub(crate) async fn found(
        &self,
        call: &Call,
        ino: Ino,
        attr: Attr,
        asked: Asked,
    ) -> Result<Entry> {
        let attr = self.newest(call, ino, attr, asked).await?;
        Ok(self.entry(ino, attr))
    }

    /// The attributes with what this client committed since they were asked for.
    async fn newest(
        &self,
        call: &Call,
        ino: Ino,
        mut attr: Attr,
        mut asked: Asked,
    ) -> Result<Attr> {
        for _ in 0..ASK_AGAIN {
            // What is dirty first, then what changed: see `Recent::changed`.
            let file = self.files.find(ino);
            let (dirty, newest) = match &file {
                Some(file) => {
                    let state = file.state.lock();
                    (
                        state.with_dirty(attr.clone()),
                        Some(state.with_commits(attr)),
                    )
                }
                None => (attr, None),
            };
            match newest {
                _ if !self.recent.since(ino, asked) => return Ok(dirty),
                Some(newest) => return Ok(newest),
                None => {}
            }
            asked = self.recent.asked();
            attr = self.meta.getattr(call, ino).await?;
        }
        Ok(attr)
    }

    /// What the kernel learns of attributes.
    pub(crate) fn attributes(&self, ino: Ino, attr: Attr) -> Attributes {
        let attr = self.with_dirty(ino, attr);
        Attributes {
            ino: self.outer(ino),
            attr,
            ttl: self.config.attr_timeout,
        }
    }

    /// The attributes with what is written and not yet committed.
    fn with_dirty(&self, ino: Ino, attr: Attr) -> Attr {
        match self.files.find(ino) {
            Some(file) => file.state.lock().with_dirty(attr),
            None => attr,
        }
    }

    /// A call of the mount itself.
    pub(crate) fn own_call(&self) -> Call {
        Call {
            session: self.session(),
            ..Call::internal()
        }
    }
}
