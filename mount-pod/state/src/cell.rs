//! A cell: a value that survives a kill in the middle of its update.
//!
//! A cell has two **halves**: `sequence u64, checksum u32, kind u32, payload`. An
//! update invalidates the older half (sequence 0), fills it, and stores its new
//! sequence number last, with release order. A reader takes the valid half with the
//! higher number. So what was **torn** by a kill is either the new value or the one
//! before, never a mixture; if neither half is valid although one was written, the
//! cell is reported as torn. The checksum (CRC-32C) covers sequence, kind and payload.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::mapping::Mapping;

const HEAD: usize = 16;

/// What a reader finds in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// It was never written.
    Empty,
    /// A valid value.
    Value {
        /// What the writer called it; 0 means retired.
        kind: u32,
        /// The value.
        payload: Vec<u8>,
    },
    /// Something was written, and no half of it is valid.
    Torn,
}

/// The place of a cell and the number of its last update.
#[derive(Debug)]
pub(crate) struct Cell {
    mapping: Arc<Mapping>,
    offset: usize,
    half: usize,
    sequence: u64,
}

impl Cell {
    /// Opens a cell whose halves take `half` bytes each, and reads it.
    pub(crate) fn open(mapping: &Arc<Mapping>, offset: usize, half: usize) -> (Self, Content) {
        let (sequence, content) = read(mapping, offset, half);
        let cell = Self {
            mapping: Arc::clone(mapping),
            offset,
            half,
            sequence,
        };
        (cell, content)
    }

    /// Replaces the value. The bytes behind `payload` are not part of it.
    pub(crate) fn write(&mut self, kind: u32, payload: &[u8]) {
        assert!(
            payload.len() + HEAD <= self.half,
            "payload exceeds the cell"
        );
        self.sequence += 1;
        let at = self.offset + (self.sequence & 1) as usize * self.half;
        let word = self.mapping.word64(at);
        word.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        let (body, room) = (at + HEAD, self.half - HEAD);
        // SAFETY: a cell has one owner, `&mut self`, and is read only when it is opened.
        unsafe {
            self.mapping.write(body, payload);
            self.mapping
                .clear(body + payload.len(), room - payload.len());
            let sum = checksum(self.sequence, kind, self.mapping.bytes(body, room));
            self.mapping.write(at + 8, &sum.to_le_bytes());
            self.mapping.write(at + 12, &kind.to_le_bytes());
        }
        word.store(self.sequence, Ordering::Release);
    }
}

fn read(mapping: &Mapping, offset: usize, half: usize) -> (u64, Content) {
    let mut written = 0;
    let mut best: Option<(u64, u32, &[u8])> = None;
    for at in [offset, offset + half] {
        let sequence = mapping.word64(at).load(Ordering::Acquire);
        written = written.max(sequence);
        // SAFETY: cells are opened before their owner exists, so nobody writes them.
        let bytes = unsafe { mapping.bytes(at + 8, half - 8) };
        let Some((kind, body)) = verify(sequence, bytes) else {
            continue;
        };
        if best.is_none_or(|(other, ..)| sequence > other) {
            best = Some((sequence, kind, body));
        }
    }
    let content = match best {
        Some((_, kind, body)) => Content::Value {
            kind,
            payload: body.to_vec(),
        },
        None if written == 0 => Content::Empty,
        None => Content::Torn,
    };
    // After damage, the next update must overwrite the damaged half, not the good one.
    (best.map_or(0, |(sequence, ..)| sequence), content)
}

fn verify(sequence: u64, bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, body) = bytes.split_at_checked(HEAD - 8)?;
    let sum = u32::from_le_bytes(head.get(..4)?.try_into().ok()?);
    let kind = u32::from_le_bytes(head.get(4..8)?.try_into().ok()?);
    (sequence != 0 && sum == checksum(sequence, kind, body)).then_some((kind, body))
}

pub(crate) fn crc32c(data: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, data) as u32
}

fn checksum(sequence: u64, kind: u32, body: &[u8]) -> u32 {
    let mut head = [0; 12];
    head[..8].copy_from_slice(&sequence.to_le_bytes());
    head[8..].copy_from_slice(&kind.to_le_bytes());
    // The two sums are chained by rotation: order and position both count.
    crc32c(&head).rotate_left(1) ^ crc32c(body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF: usize = 64;

    fn fresh() -> Arc<Mapping> {
        Arc::new(Mapping::create(4096).unwrap())
    }

    fn value(kind: u32, byte: u8) -> Content {
        Content::Value {
            kind,
            payload: vec![byte; HALF - HEAD],
        }
    }

    #[test]
    fn reads_what_was_written_last() {
        let mapping = fresh();
        let (mut cell, empty) = Cell::open(&mapping, 0, HALF);
        assert_eq!(empty, Content::Empty);
        for round in 1..10_u8 {
            cell.write(7, &[round; HALF - HEAD]);
            assert_eq!(Cell::open(&mapping, 0, HALF).1, value(7, round));
        }
    }

    proptest! {
        /// Whatever single byte of the newest half is damaged, the value before it is
        /// read, and the next update makes the cell whole again.
        #[test]
        fn falls_back_when_torn(at in 0..HALF, flip in 1..=255_u8, updates in 2..9_u8) {
            let mapping = fresh();
            let (mut cell, _) = Cell::open(&mapping, 128, HALF);
            for round in 1..=updates {
                cell.write(3, &[round; HALF - HEAD]);
            }
            let damaged = 128 + usize::from(updates & 1) * HALF + at;
            // SAFETY: the test is the only user of this mapping.
            unsafe {
                let byte = mapping.bytes(damaged, 1)[0] ^ flip;
                mapping.write(damaged, &[byte]);
            }
            let (mut cell, found) = Cell::open(&mapping, 128, HALF);
            prop_assert_eq!(found, value(3, updates - 1));
            cell.write(3, &[99; HALF - HEAD]);
            prop_assert_eq!(Cell::open(&mapping, 128, HALF).1, value(3, 99));
        }

        /// With both halves damaged the cell says so.
        #[test]
        fn reports_what_cannot_be_read(at in 0..HALF - 8, flip in 1..=255_u8) {
            let mapping = fresh();
            let (mut cell, _) = Cell::open(&mapping, 0, HALF);
            cell.write(3, &[1; HALF - HEAD]);
            cell.write(3, &[2; HALF - HEAD]);
            for half in [0, HALF] {
                // SAFETY: the test is the only user of this mapping.
                unsafe {
                    let byte = mapping.bytes(half + 8 + at, 1)[0] ^ flip;
                    mapping.write(half + 8 + at, &[byte]);
                }
            }
            prop_assert_eq!(Cell::open(&mapping, 0, HALF).1, Content::Torn);
        }
    }
}
