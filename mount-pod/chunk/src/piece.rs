//! Cutting a slice's range at the borders of its blocks.

use std::ops::Range;

use carafe_types::{BlockKey, Error, Result, SliceId, block_count, block_len};

/// The part of a range that lies in one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) key: BlockKey,
    pub(crate) range: Range<u32>,
}

impl Piece {
    pub(crate) fn len(&self) -> u32 {
        self.range.end - self.range.start
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.len() == self.key.size
    }
}

/// The pieces of `[off, off + len)` of a slice, in order.
pub(crate) fn pieces(
    block_size: u32,
    slice: SliceId,
    slice_size: u32,
    off: u32,
    len: u32,
) -> Result<Vec<Piece>> {
    let end = off
        .checked_add(len)
        .filter(|end| *end <= slice_size && !slice.is_hole())
        .ok_or(Error::Invalid)?;
    let piece = |index: u32| {
        let key = BlockKey {
            slice,
            index,
            size: block_len(slice_size, block_size, index),
        };
        let start = index * block_size;
        let range = off.max(start) - start..end.min(start + key.size) - start;
        Piece { key, range }
    };
    if len == 0 {
        return Ok(Vec::new());
    }
    Ok((off / block_size..=(end - 1) / block_size)
        .map(piece)
        .collect())
}

/// The keys of all blocks of a slice.
pub(crate) fn keys(
    block_size: u32,
    slice: SliceId,
    slice_size: u32,
) -> impl Iterator<Item = BlockKey> {
    let count = if slice.is_hole() {
        0
    } else {
        block_count(slice_size, block_size)
    };
    (0..count).map(move |index| BlockKey {
        slice,
        index,
        size: block_len(slice_size, block_size, index),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_behind_the_end_and_no_hole() {
        assert_eq!(pieces(4, SliceId(1), 10, 8, 3), Err(Error::Invalid));
        assert_eq!(pieces(4, SliceId(1), 10, u32::MAX, 2), Err(Error::Invalid));
        assert_eq!(pieces(4, SliceId::HOLE, 10, 0, 1), Err(Error::Invalid));
        assert_eq!(pieces(4, SliceId(1), 10, 10, 0), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn pieces_tile_the_range(block_size in 1u32..50, size in 0u32..500, off in 0u32..500, len in 0u32..500) {
            let off = off % (size + 1);
            let len = len % (size - off + 1);
            let mut at = off;
            for piece in pieces(block_size, SliceId(7), size, off, len).unwrap() {
                prop_assert_eq!(piece.key.index * block_size + piece.range.start, at);
                prop_assert!(piece.len() > 0 && piece.range.end <= piece.key.size);
                at += piece.len();
            }
            prop_assert_eq!(at, off + len);
        }
    }
}
