//! What the kernel was last told of inodes.
//!
//! An open answers a handle and no attributes, and the kernel goes on with those that it
//! has while their time lasts: with the length of before, at which a read ends. So who
//! opens compares what the engine says now with what the kernel was **told**, and has it
//! forget what is old before the open is answered.
//!
//! Who opens to append needs more: the kernel appends at the length that it has, and asks
//! for another only when a name is looked up. An open that fails with ESTALE makes it look
//! the name up again and open again, once; a second ESTALE would be the application's.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use carafe_types::{Attr, Ino};
use parking_lot::Mutex;

/// Inodes share a place when their numbers end alike: then one's attributes look like a
/// change of the other's, which costs a question and no more.
const PLACES: usize = 16 << 10;

/// Openers that look a name up again; of more at once, some append at the length of before.
const MOST_AGAIN: usize = 256;

/// A file and the thread that opens it.
type Opener = (Ino, u32);

/// The attributes last told at each place; bounded, whatever is told.
#[derive(Debug)]
pub(crate) struct Told {
    digests: Box<[AtomicU64]>,
    again: Mutex<VecDeque<Opener>>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            digests: (0..PLACES).map(|_| AtomicU64::default()).collect(),
            again: Mutex::default(),
        }
    }
}

impl Told {
    /// The kernel learns these attributes.
    pub(crate) fn tell(&self, ino: Ino, attr: &Attr) {
        self.place(ino).store(digest(ino, attr), Ordering::Relaxed);
    }

    /// Whether these are what the kernel was told last.
    pub(crate) fn knows(&self, ino: Ino, attr: &Attr) -> bool {
        self.place(ino).load(Ordering::Relaxed) == digest(ino, attr)
    }

    /// Whether somebody who found old attributes is to look the name up again: not if
    /// this is that second time.
    pub(crate) fn asks_again(&self, opener: Opener) -> bool {
        let mut again = self.again.lock();
        if let Some(at) = again.iter().position(|other| *other == opener) {
            again.remove(at);
            return false;
        }
        if again.len() == MOST_AGAIN {
            again.pop_front();
        }
        again.push_back(opener);
        true
    }

    /// Somebody opened with what the kernel knows.
    pub(crate) fn has_asked(&self, opener: Opener) {
        let mut again = self.again.lock();
        if !again.is_empty() {
            again.retain(|other| *other != opener);
        }
    }

    fn place(&self, ino: Ino) -> &AtomicU64 {
        &self.digests[ino.0 as usize % PLACES]
    }
}

/// Each change of an inode but an access is one of these.
fn digest(ino: Ino, attr: &Attr) -> u64 {
    let mut hasher = DefaultHasher::new();
    (ino, attr.length, attr.mtime, attr.ctime).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_told_last_is_known() {
        let told = Told::default();
        let (ino, attr) = (Ino(7), Attr::default());
        let longer = Attr {
            length: 1,
            ..attr.clone()
        };
        assert!(!told.knows(ino, &attr), "nothing was told");
        told.tell(ino, &attr);
        assert!(told.knows(ino, &attr) && !told.knows(ino, &longer));
        told.tell(ino, &longer);
        assert!(told.knows(ino, &longer) && !told.knows(ino, &attr));
        let namesake = Ino(7 + PLACES as u64);
        assert!(!told.knows(namesake, &longer), "another inode's");
    }

    #[test]
    fn nobody_looks_again_twice_in_a_row() {
        let told = Told::default();
        let (one, other) = ((Ino(7), 1), (Ino(7), 2));
        assert!(told.asks_again(one) && told.asks_again(other));
        assert!(!told.asks_again(one), "the second time");
        told.has_asked(other);
        assert!(
            told.asks_again(one) && told.asks_again(other),
            "the next open"
        );
    }
}
