//! The id batches: ranges of numbers that the database gave this session, so that a
//! successor goes on where its predecessor stopped and none is used twice or lost.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cell::{Cell, Content};
use crate::header::ID_CELLS;
use crate::layout::CELL_LEN;
use crate::mapping::Mapping;
use crate::record::{IdRecord, Record};

/// What the numbers of a batch are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// Inodes.
    Inode = 0,
    /// Slices.
    Slice = 1,
    /// Handles: not from the database, but never to be used twice either.
    Handle = 2,
}

const KINDS: usize = 3;

/// The batches of a session.
#[derive(Debug)]
pub struct Ids {
    batches: [Mutex<Batch>; KINDS],
}

#[derive(Debug)]
struct Batch {
    cell: Cell,
    record: IdRecord,
}

impl Ids {
    pub(crate) fn open(mapping: &Arc<Mapping>) -> Self {
        Self {
            batches: std::array::from_fn(|index| {
                let offset = ID_CELLS + index * CELL_LEN;
                let (cell, content) = Cell::open(mapping, offset, CELL_LEN / 2);
                let record = decode(&content).unwrap_or_default();
                Mutex::new(Batch { cell, record })
            }),
        }
    }

    /// The next number of the batch, or `None`: take another from the database.
    pub fn take(&self, kind: IdKind) -> Option<u64> {
        let mut batch = self.batches[kind as usize].lock();
        let id = batch.record.next;
        (id < batch.record.end).then(|| {
            batch.record.next += 1;
            batch.publish();
            id
        })
    }

    /// Replaces the batch. What was left of the old one is given up.
    pub fn refill(&self, kind: IdKind, ids: Range<u64>) {
        let mut batch = self.batches[kind as usize].lock();
        batch.record = IdRecord {
            next: ids.start,
            end: ids.end,
        };
        batch.publish();
    }

    /// How many numbers the batch still has.
    pub fn remaining(&self, kind: IdKind) -> u64 {
        let batch = self.batches[kind as usize].lock();
        batch.record.end.saturating_sub(batch.record.next)
    }
}

impl Batch {
    fn publish(&mut self) {
        self.cell.write(IdRecord::KIND, &self.record.encode());
    }
}

fn decode(content: &Content) -> Option<IdRecord> {
    let Content::Value { kind, payload } = content else {
        return None;
    };
    let payload = payload.as_slice().try_into().ok()?;
    (*kind == IdRecord::KIND).then(|| IdRecord::decode(payload))
}
