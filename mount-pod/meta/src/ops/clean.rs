//! Taking apart what was deleted.

use carafe_types::{Ino, SliceId};

use crate::ops::{DelayedKey, Mutation, Plan, Planned, Reads, Want};

/// Removes a deleted file's chunk and its slices' references.
pub(crate) fn drop_chunk(reads: &dyn Reads, ino: Ino, index: u32) -> Plan<()> {
    let slices = reads.chunk(ino, index)?;
    let mut out = vec![Mutation::DropChunk { ino, index }];
    for slice in slices.iter().filter(|slice| !slice.id.is_hole()) {
        out.push(Mutation::RefSlice {
            id: slice.id,
            size: slice.size,
            delta: -1,
        });
    }
    Planned::with((), out)
}

/// A deleted file has no chunks left.
pub(crate) fn forget_file(ino: Ino, length: u64) -> Plan<()> {
    Planned::with((), vec![Mutation::DropDeleted { ino, length }])
}

/// Forgets slices whose objects are gone; one that got a reference meanwhile stays.
pub(crate) fn forget_slices(reads: &dyn Reads, slices: &[(SliceId, u32)]) -> Plan<()> {
    let wants: Vec<_> = slices
        .iter()
        .map(|&(id, size)| Want::Slice(id, size))
        .collect();
    reads.prefetch(&wants)?;
    let mut out = Vec::new();
    for &(id, size) in slices {
        if reads.slice_refs(id, size)? <= 0 {
            out.push(Mutation::DropSlice { id, size });
        }
    }
    Planned::with((), out)
}

/// Gives up compacted slices whose time in the trash is over. Another client's gc may
/// have done so since they were listed: their references go once.
pub(crate) fn drop_delayed(reads: &dyn Reads, key: DelayedKey) -> Plan<()> {
    let Some(slices) = reads.delayed(key)? else {
        return Planned::unchanged(());
    };
    let mut out = vec![Mutation::DropDelayed { key }];
    out.extend(slices.into_iter().map(|(id, size)| Mutation::RefSlice {
        id,
        size,
        delta: -1,
    }));
    Planned::with((), out)
}
