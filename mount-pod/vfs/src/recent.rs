//! What this client changed of late.
//!
//! An answer of the engine may be older than a change of this client that ended while
//! the answer was on its way: bytes that were committed meanwhile are neither in the
//! answer nor among what is still dirty. The kernel takes such an answer for new, and
//! would append over those bytes. So whoever asks notes **when** ([`Asked`]), and is
//! told whether the inode was changed **since**.

use std::sync::atomic::{AtomicU64, Ordering};

use carafe_types::Ino;

/// Inodes share a place when their numbers end alike: then one's change looks like the
/// other's, which costs a question and no more.
const PLACES: usize = 4096;

/// When the engine was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked(u64);

/// The last change at each place; bounded, whatever is changed.
#[derive(Debug)]
pub(crate) struct Recent {
    now: AtomicU64,
    last: Box<[AtomicU64]>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            now: AtomicU64::default(),
            last: (0..PLACES).map(|_| AtomicU64::default()).collect(),
        }
    }
}

impl Recent {
    /// To be called before the engine is asked.
    pub(crate) fn asked(&self) -> Asked {
        Asked(self.now.load(Ordering::SeqCst))
    }

    /// The engine has made a change of ours. Called before what was dirty is forgotten:
    /// whoever no longer finds it dirty finds it changed.
    pub(crate) fn changed(&self, ino: Ino) {
        let number = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.place(ino).fetch_max(number, Ordering::SeqCst);
    }

    /// Whether an answer about the inode may be older than a change.
    pub(crate) fn since(&self, ino: Ino, asked: Asked) -> bool {
        self.place(ino).load(Ordering::SeqCst) > asked.0
    }

    fn place(&self, ino: Ino) -> &AtomicU64 {
        &self.last[ino.0 as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_change_makes_an_answer_old() {
        let recent = Recent::default();
        let (one, other) = (Ino(7), Ino(8));
        recent.changed(one);
        let asked = recent.asked();
        assert!(!recent.since(one, asked), "the change was before");
        recent.changed(one);
        assert!(recent.since(one, asked) && !recent.since(other, asked));
    }
}
