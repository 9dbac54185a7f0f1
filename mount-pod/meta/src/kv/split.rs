//! Plans that one transaction of a store does not hold: what of them may be done before
//! it, after it, or in parts, without anybody seeing a wrong volume.
//!
//! **Holes** go first: until the file's inode is written they only show zeros where
//! zeros are about to be. References that slices **lose** become a list of slices whose
//! time in the trash is over, which the cleaners take apart. Attributes of an inode that
//! is gone go after it, since its number is never used again.

use carafe_types::{Ino, SliceId};

use super::apply::as_dereference;
use crate::ops::{DelayedKey, Mutation};

/// Holes, lost references or attributes up to this number stay in the transaction.
const FEW: usize = 16;
/// A cut over more chunks than this is listed first.
const NARROW: u32 = 32;

/// A plan's mutations in two parts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Split {
    /// For the transaction.
    pub(super) now: Vec<Mutation>,
    /// Inodes whose attributes go after it.
    pub(super) attributes_of: Vec<Ino>,
    /// Whether its parts are independent: each is guarded by what it changes itself.
    pub(super) independent: bool,
    /// Whether the plan must run again for the rest of it.
    pub(super) again: bool,
}

/// The holes that go before the rest; none if they are few.
pub(super) fn holes(mutations: &[Mutation]) -> Vec<Mutation> {
    let holes: Vec<_> = mutations
        .iter()
        .filter(|one| is_hole(one))
        .cloned()
        .collect();
    let is_wide = |one: &Mutation| matches!(one, Mutation::ZeroChunks { after, before, .. } if before - after > NARROW);
    if holes.len() > FEW || holes.iter().any(is_wide) {
        holes
    } else {
        Vec::new()
    }
}

/// What is left once the holes are made.
pub(super) fn without_holes(mutations: &[Mutation]) -> Vec<Mutation> {
    mutations
        .iter()
        .filter(|one| !is_hole(one))
        .cloned()
        .collect()
}

fn is_hole(mutation: &Mutation) -> bool {
    match mutation {
        Mutation::AppendSlice { slice, .. } => slice.id == SliceId::HOLE,
        Mutation::ZeroChunks { .. } => true,
        _ => false,
    }
}

/// The same in a transaction of fewer keys; `most` bounds what is taken of a plan whose
/// parts are independent.
pub(super) fn fewer(mutations: Vec<Mutation>, most: usize) -> Split {
    let is_forgetting = |one: &Mutation| matches!(one, Mutation::DropSlice { .. });
    if mutations.iter().all(is_forgetting) {
        let again = mutations.len() > most;
        let now = mutations.into_iter().take(most).collect();
        return Split {
            now,
            independent: true,
            again,
            ..Split::default()
        };
    }
    let mut split = Split::default();
    let lost: Vec<_> = mutations.iter().filter_map(as_dereference).collect();
    let is_list = |one: &Mutation| matches!(one, Mutation::DropDelayed { .. });
    let postpone = lost.len() > FEW && !mutations.iter().any(is_list);
    for mutation in mutations {
        match mutation {
            Mutation::DropXattrs { ino } => split.attributes_of.push(ino),
            one if postpone && as_dereference(&one).is_some() => {}
            other => split.now.push(other),
        }
    }
    if let Some((id, _)) = lost.first().filter(|_| postpone) {
        let key = DelayedKey { id: id.0, time: 0 };
        split.now.push(Mutation::AddDelayed { key, slices: lost });
    }
    split
}
