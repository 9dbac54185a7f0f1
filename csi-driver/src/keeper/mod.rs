//! The keeper: what makes a mount outlive its client.
//!
//! For each volume that this node has mounted, the keeper holds a **kept mount**
//! ([`Kept`]): duplicates of the FUSE descriptors and of the worker's memory, the
//! INIT that the kernel and the first worker agreed on, the arguments and the secret.
//! A mount pod that connects to its socket gets them ([`session`]). When the plugin
//! restarts, the pods connect again and give back what they hold; until then a kept
//! mount is **empty**. What the keeper knows is in memory and in the pods, never in a
//! file.
//!
//! The keeper never opens, stats or lists anything inside a mount that it keeps.

mod kept;
mod phase;
mod session;
mod state;

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

pub use kept::Kept;
pub use phase::{NotServed, Phase};

/// The kept mounts of this node, by volume id.
#[derive(Debug, Default)]
pub struct Keeper {
    mounts: Mutex<HashMap<String, Arc<Kept>>>,
}

impl Keeper {
    /// The volume's kept mount.
    pub fn get(&self, volume: &str) -> Option<Arc<Kept>> {
        self.mounts.lock().get(volume).cloned()
    }

    /// Keeps a mount; one that was kept for the same volume is forgotten.
    pub fn insert(&self, kept: Arc<Kept>) {
        let old = self.mounts.lock().insert(kept.volume().to_owned(), kept);
        if let Some(old) = old {
            old.forget();
        }
    }

    /// Forgets the volume's mount and closes its descriptors.
    pub fn remove(&self, volume: &str) {
        let old = self.mounts.lock().remove(volume);
        if let Some(old) = old {
            old.forget();
        }
    }
}

/// A session holds its mount, which holds the task of the session: without this the
/// sockets of a keeper that is gone would be answered for ever.
impl Drop for Keeper {
    fn drop(&mut self) {
        for kept in self.mounts.get_mut().values() {
            kept.forget();
        }
    }
}
