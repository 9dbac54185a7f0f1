//! Telling the kernel that what it cached is no longer true.
//!
//! A notification can wait in the kernel for a page or inode lock that a request
//! of ours holds, so nothing here ever waits: notifications go into a bounded
//! queue that one task empties, and are dropped when it is full, since timeouts
//! bound what the kernel keeps. Nobody invalidates what this client itself wrote
//! through the kernel: the kernel knows that already.

use std::sync::Arc;

use carafe_types::Ino;
use tokio::sync::mpsc;

/// The kernel's caches, as far as they can be told of changes. Calls may block.
pub trait Invalidator: Send + Sync + 'static {
    /// Forget attributes and `[offset, offset + len)` of the data; a `len` of 0 is
    /// to the end of the file, a negative `offset` means attributes only.
    fn inval_inode(&self, ino: Ino, offset: i64, len: i64);
    /// Forget a name.
    fn inval_entry(&self, parent: Ino, name: &[u8]);
}

/// For those who have no kernel to tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoInvalidator;

impl Invalidator for NoInvalidator {
    fn inval_inode(&self, _ino: Ino, _offset: i64, _len: i64) {}
    fn inval_entry(&self, _parent: Ino, _name: &[u8]) {}
}

enum Notice {
    Inode(Ino, i64, i64),
}

/// The queue before an [`Invalidator`].
#[derive(Clone)]
pub(crate) struct Notices {
    queue: mpsc::Sender<Notice>,
}

impl Notices {
    const ROOM: usize = 1024;

    /// Starts the task that empties the queue; it ends with the last clone.
    pub(crate) fn start(invalidator: Arc<dyn Invalidator>) -> Self {
        let (queue, mut notices) = mpsc::channel(Self::ROOM);
        tokio::spawn(async move {
            while let Some(notice) = notices.recv().await {
                let invalidator = Arc::clone(&invalidator);
                let told = tokio::task::spawn_blocking(move || tell(&*invalidator, &notice)).await;
                if told.is_err() {
                    tracing::error!("a cache invalidation panicked");
                }
            }
        });
        Self { queue }
    }

    /// Queues "forget this inode's data"; drops it if the queue is full.
    pub(crate) fn inode(&self, ino: Ino) {
        if self.queue.try_send(Notice::Inode(ino, 0, 0)).is_err() {
            tracing::debug!(%ino, "the invalidation queue is full: the kernel's timeout must do");
        }
    }
}

fn tell(invalidator: &dyn Invalidator, notice: &Notice) {
    match notice {
        Notice::Inode(ino, offset, len) => invalidator.inval_inode(*ino, *offset, *len),
    }
}
