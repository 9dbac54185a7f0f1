//! Telling the kernel that what it has cached is no longer true.
//!
//! A notification that drops pages waits in the kernel until those that a READ under
//! way has locked are free, and nothing ends that wait: a worker that is killed then
//! cannot die before somebody answers the READ, and its successor, who could, waits
//! for its death. So inodes are invalidated by their attributes only. The next reader
//! asks for them, and the kernel, which was told so at INIT, drops the pages of a file
//! whose length or mtime is another; it waits in the reader's name then, not in ours.
//! (With the kernel's write-back cache it trusts its own length and mtime instead.)
//!
//! A name's notification still waits for its directory's lock, which a request on that
//! directory can hold. So there is one thread for notifications, which holds nothing
//! and which no request waits for; when its queue is full, notices are dropped, since
//! the cache's timeouts bound what is wrong.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use carafe_types::Ino;
use carafe_vfs::Invalidator;
use rustix::io::Errno;

use crate::abi::Body;

const ROOM: usize = 1024;
const INVAL_INODE: u32 = 2;
const INVAL_ENTRY: u32 = 3;

/// Sends notifications to the kernel.
#[derive(Debug)]
pub struct Notifier {
    device: Arc<OwnedFd>,
    queue: SyncSender<Vec<u8>>,
}

impl Notifier {
    /// Over a duplicate of the device. The thread ends with the notifier.
    pub fn new(device: OwnedFd) -> Self {
        let (queue, notices) = sync_channel(ROOM);
        let device = Arc::new(device);
        let of_thread = Arc::clone(&device);
        let started = thread::Builder::new()
            .name("fuse-notify".into())
            .spawn(move || send_all(&of_thread, &notices));
        if let Err(error) = started {
            tracing::error!(%error, "no thread for invalidations: the kernel's timeouts must do");
        }
        Self { device, queue }
    }

    /// Has the kernel forget an inode's attributes before this returns. It waits for
    /// no lock there: pages are not named, and whoever asks has the inode open.
    pub(crate) fn forget_attributes(&self, ino: Ino) {
        send(&self.device, &message(INVAL_INODE, &attributes_of(ino)));
    }

    fn post(&self, code: u32, body: &Body) {
        if self.queue.try_send(message(code, body)).is_err() {
            tracing::debug!("an invalidation was dropped: the kernel's timeout must do");
        }
    }
}

impl Invalidator for Notifier {
    fn inval_inode(&self, ino: Ino, _offset: i64, _len: i64) {
        self.post(INVAL_INODE, &attributes_of(ino));
    }

    fn inval_entry(&self, parent: Ino, name: &[u8]) {
        let mut body = Body::default().u64(parent.0).u32(name.len() as u32).u32(0);
        body.0.extend_from_slice(name);
        self.post(INVAL_ENTRY, &body.zeros(1));
    }
}

/// "Forget the attributes": a negative offset leaves the pages alone.
fn attributes_of(ino: Ino) -> Body {
    Body::default().u64(ino.0).u64(-1i64 as u64).u64(0)
}

/// A notification as the kernel reads it.
fn message(code: u32, body: &Body) -> Vec<u8> {
    let len = (crate::abi::REPLY_HEADER_LEN + body.0.len()) as u32;
    let Body(mut message) = Body::default().u32(len).u32(code).u64(0);
    message.extend_from_slice(&body.0);
    message
}

fn send_all(device: &OwnedFd, notices: &Receiver<Vec<u8>>) {
    let mut notices = notices.iter();
    while notices.next().is_some_and(|notice| send(device, &notice)) {}
}

/// Whether the mount is still there.
fn send(device: &OwnedFd, notice: &[u8]) -> bool {
    match rustix::io::write(device, notice) {
        // ENOENT: the kernel does not know the inode or name, so nothing is cached.
        Ok(_) | Err(Errno::NOENT) => {}
        Err(Errno::NODEV | Errno::BADF) => return false,
        Err(error) => tracing::debug!(%error, "an invalidation was refused"),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_never_named() {
        let Body(bytes) = attributes_of(Ino(7));
        assert_eq!(bytes[..8], 7u64.to_ne_bytes());
        assert_eq!(
            bytes[8..16],
            (-1i64).to_ne_bytes(),
            "an offset of 0 or more waits for locked pages"
        );
        assert_eq!(bytes.len(), 24, "fuse_notify_inval_inode_out");
    }
}
