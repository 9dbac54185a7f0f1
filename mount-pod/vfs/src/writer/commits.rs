//! The files that wait for the committer.

use std::{collections::HashMap, sync::Arc};

use carafe_types::Ino;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::file::File;

/// The files that have, or may have, something to commit.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    waiting: Mutex<HashMap<Ino, Arc<File>>>,
    wake: Notify,
}

impl Commits {
    /// Has the committer look at a file.
    pub(crate) fn enqueue(&self, file: &Arc<File>) {
        // An older life of the inode may still stand there; it is clean.
        self.waiting.lock().insert(file.ino, Arc::clone(file));
        self.wake.notify_one();
    }

    /// Waits until a file is enqueued.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes all that wait.
    pub(super) fn take_all(&self) -> Vec<Arc<File>> {
        std::mem::take(&mut *self.waiting.lock())
            .into_values()
            .collect()
    }

    /// Those that wait.
    pub(super) fn waiting(&self) -> Vec<Arc<File>> {
        self.waiting.lock().values().cloned().collect()
    }
}
