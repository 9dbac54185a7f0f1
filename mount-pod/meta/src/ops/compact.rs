//! Putting few slices in the place of many.

use carafe_types::Slice;

use crate::{
    Compaction,
    ops::{Ctx, DelayedKey, Mutation, Plan, Planned, Reads},
};

/// Replaces the front of a chunk's list, if it is still what it was: writers only
/// append, so it changes only when another client compacts it or the file goes.
/// With a trash, slices keep their references until its time is over.
pub(crate) fn compact(
    reads: &dyn Reads,
    ctx: &Ctx,
    compaction: &Compaction,
    trash: bool,
) -> Plan<bool> {
    let Compaction {
        ino,
        index,
        id,
        front,
        keep,
        merged,
    } = compaction;
    if front.is_empty() || reads.chunk_front(*ino, *index, front.len())? != *front {
        return Planned::unchanged(false);
    }
    let (kept, replaced) = front.split_at(*keep);
    let mut out = vec![Mutation::ReplaceSlices {
        ino: *ino,
        index: *index,
        count: front.len(),
        by: [kept, merged].concat(),
    }];
    out.extend(merged.iter().map(|slice| Mutation::NewSlice {
        id: slice.id,
        size: slice.size,
    }));
    let replaced = replaced.iter().filter(|slice| !slice.id.is_hole());
    if trash {
        out.push(Mutation::AddDelayed {
            key: DelayedKey {
                id: id.0,
                time: ctx.now.secs,
            },
            slices: replaced.map(|slice| (slice.id, slice.size)).collect(),
        });
    } else {
        out.extend(replaced.map(dereference));
    }
    Planned::with(true, out)
}

fn dereference(slice: &Slice) -> Mutation {
    Mutation::RefSlice {
        id: slice.id,
        size: slice.size,
        delta: -1,
    }
}
