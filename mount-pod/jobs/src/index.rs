//! The slices of a volume in little memory: 24 bytes each, and a bit for each block.

use carafe_meta::{Admin, Call, ChunkRecord};
use carafe_types::{BlockKey, Result, SliceId, block_count, block_len};

/// Slices by id and size, sorted, each once.
#[derive(Debug, Default)]
pub(crate) struct Slices(Vec<(SliceId, u32)>);

impl Slices {
    /// Those that chunks refer to now.
    pub(crate) async fn in_use(meta: &dyn Admin, call: &Call) -> Result<Self> {
        let mut found = Vec::new();
        let mut tidy = 0;
        let mut visit = |chunk: ChunkRecord| {
            let data = chunk.slices.iter().filter(|slice| !slice.id.is_hole());
            found.extend(data.map(|slice| (slice.id, slice.size)));
            // Clones refer to the same slices many times over.
            if found.len() > 2 * tidy + (1 << 20) {
                found.sort_unstable();
                found.dedup();
                tidy = found.len();
            }
        };
        meta.scan_chunks(call, &mut visit).await?;
        Ok(found.into())
    }

    pub(crate) fn contains(&self, id: SliceId, size: u32) -> bool {
        self.0.binary_search(&(id, size)).is_ok()
    }

    /// Whether the block is one of a slice of these.
    pub(crate) fn has_block(&self, block: BlockKey, block_size: u32) -> bool {
        let from = self.0.partition_point(|(id, _)| *id < block.slice);
        self.0[from..]
            .iter()
            .take_while(|(id, _)| *id == block.slice)
            .any(|(_, size)| block_len(*size, block_size, block.index) == block.size)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their bytes together.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, size)| u64::from(*size)).sum()
    }
}

impl From<Vec<(SliceId, u32)>> for Slices {
    fn from(mut slices: Vec<(SliceId, u32)>) -> Self {
        slices.sort_unstable();
        slices.dedup();
        Self(slices)
    }
}

/// Which blocks of slices were seen in the store.
pub(crate) struct Seen {
    slices: Slices,
    block_size: u32,
    /// The number of each slice's first block.
    firsts: Vec<u64>,
    bits: Vec<u64>,
}

impl Seen {
    pub(crate) fn nothing_of(slices: Slices, block_size: u32) -> Self {
        let mut firsts = Vec::with_capacity(slices.len());
        let mut next = 0;
        for (_, size) in &slices.0 {
            firsts.push(next);
            next += u64::from(block_count(*size, block_size));
        }
        let bits = vec![0; next.div_ceil(64) as usize];
        Self {
            slices,
            block_size,
            firsts,
            bits,
        }
    }

    /// A block is there.
    pub(crate) fn mark(&mut self, block: BlockKey) {
        let from = self.slices.0.partition_point(|(id, _)| *id < block.slice);
        for at in from..self.slices.len() {
            let (id, size) = self.slices.0[at];
            if id != block.slice {
                break;
            }
            if block_len(size, self.block_size, block.index) == block.size {
                let bit = self.firsts[at] + u64::from(block.index);
                self.bits[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        }
    }

    /// The slices of which not every block was seen.
    pub(crate) fn incomplete(&self) -> Slices {
        let lacks = |at: &usize| {
            let blocks = u64::from(block_count(self.slices.0[*at].1, self.block_size));
            let mut bits = self.firsts[*at]..self.firsts[*at] + blocks;
            bits.any(|bit| self.bits[(bit / 64) as usize] & 1 << (bit % 64) == 0)
        };
        let lacking = (0..self.slices.len()).filter(lacks);
        lacking
            .map(|at| self.slices.0[at])
            .collect::<Vec<_>>()
            .into()
    }
}

/// The block that an object's key names; `None` for other objects.
pub(crate) fn block_of(key: &str) -> Option<BlockKey> {
    let mut parts = key.rsplit('/').next()?.splitn(3, '_');
    Some(BlockKey {
        slice: SliceId(parts.next()?.parse().ok()?),
        index: parts.next()?.parse().ok()?,
        size: parts.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u32 = 100;

    fn block(slice: u64, index: u32, size: u32) -> BlockKey {
        BlockKey {
            slice: SliceId(slice),
            index,
            size,
        }
    }

    #[test]
    fn keys_name_blocks() {
        let key = block(1_234_567, 2, 50);
        for hash_prefix in [false, true] {
            assert_eq!(block_of(&key.object_key(hash_prefix)), Some(key));
        }
        for other in ["chunks/0/0/x_0_1", "chunks/0/0/1_0", "juicefs_uuid", ""] {
            assert_eq!(block_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_slice_without_one_of_its_blocks_is_incomplete() {
        let slices = vec![(SliceId(7), 250), (SliceId(3), 100), (SliceId(7), 250)];
        let mut seen = Seen::nothing_of(slices.into(), BLOCK);
        for there in [block(3, 0, 100), block(7, 0, 100), block(7, 2, 50)] {
            assert!(seen.slices.has_block(there, BLOCK), "{there}");
            seen.mark(there);
        }
        seen.mark(block(7, 1, 99));
        let lacking = seen.incomplete();
        assert!(lacking.contains(SliceId(7), 250) && lacking.len() == 1);
        seen.mark(block(7, 1, 100));
        assert_eq!(seen.incomplete().len(), 0);
        assert!(!seen.slices.has_block(block(7, 3, 0), 1), "behind its end");
    }
}
