//! Blocks: the objects that hold a slice's bytes.

use std::fmt;

use crate::SliceId;

/// Names one block of a slice. Blocks are immutable: a key's bytes never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey {
    /// The slice.
    pub slice: SliceId,
    /// The block's index in the slice.
    pub index: u32,
    /// The block's plain length in bytes.
    pub size: u32,
}

impl BlockKey {
    /// The object's key under the volume's name (JuiceFS's layout), which the
    /// format's `HashPrefix` chooses.
    pub fn object_key(&self, hash_prefix: bool) -> String {
        let id = self.slice.0;
        if hash_prefix {
            format!("chunks/{:02X}/{}/{self}", id % 256, id / 1_000_000)
        } else {
            format!("chunks/{}/{}/{self}", id / 1_000_000, id / 1_000)
        }
    }
}

impl fmt::Display for BlockKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}_{}_{}", self.slice, self.index, self.size)
    }
}

/// How many blocks a slice of `slice_size` bytes has.
pub fn block_count(slice_size: u32, block_size: u32) -> u32 {
    slice_size.div_ceil(block_size)
}

/// The plain length of block `index` of a slice of `slice_size` bytes; 0 behind its end.
pub fn block_len(slice_size: u32, block_size: u32, index: u32) -> u32 {
    let start = u64::from(index) * u64::from(block_size);
    u64::from(slice_size)
        .saturating_sub(start)
        .min(u64::from(block_size)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_as_juicefs_spells_them() {
        let key = BlockKey {
            slice: SliceId(1_234_567),
            index: 2,
            size: 4_194_304,
        };
        assert_eq!(key.object_key(false), "chunks/1/1234/1234567_2_4194304");
        assert_eq!(key.object_key(true), "chunks/87/1/1234567_2_4194304");
    }

    #[test]
    fn the_last_block_is_short() {
        assert_eq!(block_count(10, 4), 3);
        assert_eq!(
            [0, 1, 2, 3].map(|index| block_len(10, 4, index)),
            [4, 4, 2, 0]
        );
    }
}
