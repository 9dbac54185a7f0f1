//! What the kernel was last told of inodes.
//!
//! An open answers a handle and no attributes, and the kernel goes on with those that it
//! has while their time lasts: with the length of before, at which a read ends. So who
//! opens compares what the engine says now with what the kernel was **told**, and has it
//! forget what is old before the open is answered.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use carafe_types::{Attr, Ino};

/// Inodes share a place when their numbers end alike: then one's attributes look like a
/// change of the other's, which costs a question and no more.
const PLACES: usize = 16 << 10;

/// The attributes last told at each place; bounded, whatever is told.
#[derive(Debug)]
pub(crate) struct Told(Box<[AtomicU64]>);

impl Default for Told {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::default()).collect())
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

    fn place(&self, ino: Ino) -> &AtomicU64 {
        &self.0[ino.0 as usize % PLACES]
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
}
