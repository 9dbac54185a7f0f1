//! Slice records, and what a list of them reads as.
//!
//! A **segment** is a piece of a chunk that one slice (or a hole) answers.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};

use crate::SliceId;

/// The length of a slice record in bytes.
pub const SLICE_RECORD_LEN: usize = 24;

/// A slice as a chunk's list names it: `[off, off + len)` of slice `id` stands
/// at `pos` of the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Where in the chunk it starts.
    pub pos: u32,
    /// The slice; [`SliceId::HOLE`] reads as zeros.
    pub id: SliceId,
    /// The whole slice's size in bytes, which its blocks' keys derive from.
    pub size: u32,
    /// The first byte of the slice that is used here.
    pub off: u32,
    /// How many bytes are used here.
    pub len: u32,
}

/// A chunk's slice list had a length that is no multiple of a record's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a slice list of {0} bytes is not whole records of {SLICE_RECORD_LEN}")]
pub struct SliceDecodeError(pub usize);

impl Slice {
    /// A whole new slice of `len` bytes at `pos`.
    pub fn whole(pos: u32, id: SliceId, len: u32) -> Self {
        Self {
            pos,
            id,
            size: len,
            off: 0,
            len,
        }
    }

    /// A hole of `len` bytes at `pos`.
    pub fn hole(pos: u32, len: u32) -> Self {
        Self {
            pos,
            id: SliceId::HOLE,
            size: 0,
            off: 0,
            len,
        }
    }

    /// The record, big-endian, as JuiceFS writes it.
    pub fn encode(&self) -> [u8; SLICE_RECORD_LEN] {
        let mut record = [0; SLICE_RECORD_LEN];
        let mut out = &mut record[..];
        out.put_u32(self.pos);
        out.put_u64(self.id.0);
        out.put_u32(self.size);
        out.put_u32(self.off);
        out.put_u32(self.len);
        record
    }

    /// Reads one record.
    pub fn decode(record: &[u8; SLICE_RECORD_LEN]) -> Self {
        let mut from = &record[..];
        Self {
            pos: from.get_u32(),
            id: SliceId(from.get_u64()),
            size: from.get_u32(),
            off: from.get_u32(),
            len: from.get_u32(),
        }
    }

    /// Reads a list of records that stand one behind the other.
    pub fn decode_list(list: &[u8]) -> Result<Vec<Self>, SliceDecodeError> {
        let (records, rest) = list.as_chunks::<SLICE_RECORD_LEN>();
        if rest.is_empty() {
            Ok(records.iter().map(Self::decode).collect())
        } else {
            Err(SliceDecodeError(list.len()))
        }
    }

    /// A record of bytes from elsewhere may end anywhere.
    fn end(&self) -> u32 {
        self.pos.saturating_add(self.len)
    }

    /// The part of it that answers `[start, end)` of the chunk, within the slice.
    fn segment(&self, start: u32, end: u32) -> Segment {
        let off = if self.id.is_hole() {
            0
        } else {
            self.off.saturating_add(start - self.pos)
        };
        Segment {
            pos: start,
            len: end - start,
            id: self.id,
            size: self.size,
            off,
        }
    }
}

/// A piece of a chunk and the one slice that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the chunk it starts.
    pub pos: u32,
    /// How long it is; never 0.
    pub len: u32,
    /// The slice; a hole reads as zeros.
    pub id: SliceId,
    /// The whole slice's size.
    pub size: u32,
    /// Where in the slice the piece starts.
    pub off: u32,
}

/// What `[pos, pos + len)` of a chunk reads as, in order and without gaps:
/// later slices overlay earlier ones; what no slice covers is a hole.
///
/// A list may be long where nobody compacts: the work grows with its length and the
/// number of segments, and not with their product.
pub fn overlay(slices: &[Slice], pos: u32, len: u32) -> Vec<Segment> {
    let mut open = Open::new(pos, pos.saturating_add(len));
    let mut segments = Vec::new();
    for slice in slices.iter().rev() {
        if open.is_empty() {
            break;
        }
        open.take(slice.pos, slice.end(), |start, end| {
            segments.push(slice.segment(start, end));
        });
    }
    segments.extend(open.ranges.into_iter().map(hole));
    segments.sort_unstable_by_key(|segment| segment.pos);
    merge_holes(&mut segments);
    segments
}

/// The parts of a chunk that no slice has answered yet: starts and ends, in order,
/// without touching each other.
struct Open {
    ranges: BTreeMap<u32, u32>,
}

impl Open {
    fn new(start: u32, end: u32) -> Self {
        let ranges = (start < end).then_some((start, end)).into_iter().collect();
        Self { ranges }
    }

    fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Takes all that lies within `[start, end)`, and shows each part.
    fn take(&mut self, start: u32, end: u32, mut taken: impl FnMut(u32, u32)) {
        while let Some((&first, &last)) = self.ranges.range(..end).next_back() {
            if last <= start || start >= end {
                break;
            }
            self.ranges.remove(&first);
            if end < last {
                self.ranges.insert(end, last);
            }
            if first < start {
                self.ranges.insert(first, start);
            }
            taken(first.max(start), last.min(end));
        }
    }
}

fn hole((start, end): (u32, u32)) -> Segment {
    Slice::hole(start, end - start).segment(start, end)
}

fn merge_holes(segments: &mut Vec<Segment>) {
    segments.dedup_by(|next, last| {
        let both = last.id.is_hole() && next.id.is_hole();
        if both {
            last.len += next.len;
            last.size = 0;
        }
        both
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_is_big_endian() {
        let slice = Slice {
            pos: 1,
            id: SliceId(2),
            size: 3,
            off: 4,
            len: 5,
        };
        let record = slice.encode();
        assert_eq!(
            record,
            *b"\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05"
        );
        assert_eq!(Slice::decode(&record), slice);
    }

    #[test]
    fn a_torn_list_is_refused() {
        assert_eq!(Slice::decode_list(&[0; 25]), Err(SliceDecodeError(25)));
    }

    /// Recursion would not come back from lists like these.
    #[test]
    fn long_lists_are_read() {
        const COUNT: u32 = 200_000;
        let appended: Vec<_> = (0..COUNT)
            .map(|at| Slice::whole(at * 10, SliceId(1), 10))
            .collect();
        assert_eq!(overlay(&appended, 0, COUNT * 10).len(), COUNT as usize);
        let nested: Vec<_> = (0..COUNT)
            .map(|at| Slice::whole(at, SliceId(u64::from(at) + 1), 2 * COUNT - 2 * at))
            .collect();
        let segments = overlay(&nested, 0, 2 * COUNT);
        assert_eq!(segments.len(), 2 * COUNT as usize - 1);
    }

    #[test]
    fn a_record_may_claim_to_end_anywhere() {
        let far = Slice {
            pos: u32::MAX - 1,
            id: SliceId(1),
            size: u32::MAX,
            off: u32::MAX,
            len: u32::MAX,
        };
        assert_eq!(overlay(&[far], 0, u32::MAX).len(), 2);
    }

    fn slices() -> impl Strategy<Value = Vec<Slice>> {
        let one = (0u32..200, 1u32..100, 0u32..20, any::<bool>());
        prop::collection::vec(one, 0..12).prop_map(|list| {
            let of = |(index, (pos, len, off, hole)): (usize, (u32, u32, u32, bool))| {
                if hole {
                    return Slice::hole(pos, len);
                }
                Slice {
                    pos,
                    id: SliceId(index as u64 + 1),
                    size: off + len,
                    off,
                    len,
                }
            };
            list.into_iter().enumerate().map(of).collect()
        })
    }

    proptest! {
        /// The reference paints byte after byte.
        #[test]
        fn overlay_agrees_with_painting(slices in slices(), pos in 0u32..100, len in 0u32..300) {
            let mut painted = vec![(SliceId::HOLE, 0u32); 512];
            for slice in &slices {
                for at in 0..slice.len {
                    let off = if slice.id.is_hole() { 0 } else { slice.off + at };
                    painted[(slice.pos + at) as usize] = (slice.id, off);
                }
            }
            let mut at = pos;
            for segment in overlay(&slices, pos, len) {
                prop_assert_eq!(segment.pos, at);
                prop_assert!(segment.len > 0);
                for step in 0..segment.len {
                    let off = if segment.id.is_hole() { 0 } else { segment.off + step };
                    prop_assert_eq!(painted[(at + step) as usize], (segment.id, off));
                }
                at += segment.len;
            }
            prop_assert_eq!(at, pos + len);
        }
    }
}
