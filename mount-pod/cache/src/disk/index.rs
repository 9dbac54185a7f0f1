//! Which blocks are cached, in memory: 16 bytes for a slot, and a map from block to
//! slot; about 40 bytes a block in all.
//!
//! Room is made by a **hand** that goes round the slots. A block is forgotten when the
//! hand finds that it was not used since it came by last; each use adds to a small
//! count that the hand takes down, so that what is used often stays longer.

use std::collections::HashMap;

use carafe_types::{BlockKey, SliceId};

use super::records::Record;

/// Bits of a packed block that hold its index in the slice.
const INDEX_BITS: u32 = 11;
/// The highest use count.
const MOST_USES: u8 = 3;

/// A block as one number; `None` for one that no volume has (such a block is not
/// cached). 0 is no block, since slice 0 is a hole.
pub(super) fn pack(key: BlockKey) -> Option<u64> {
    let fits =
        key.index < 1 << INDEX_BITS && key.slice.0 < 1 << (64 - INDEX_BITS) && !key.slice.is_hole();
    fits.then(|| key.slice.0 << INDEX_BITS | u64::from(key.index))
}

/// The slice and the index of a packed block.
pub(super) fn unpack(block: u64) -> (SliceId, u32) {
    (
        SliceId(block >> INDEX_BITS),
        (block & ((1 << INDEX_BITS) - 1)) as u32,
    )
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    block: u64,
    size: u32,
    uses: u8,
}

/// A block that was taken out of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) slot: u32,
    pub(super) block: u64,
    pub(super) size: u32,
}

/// The blocks and their slots.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_block: HashMap<u64, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    hand: usize,
    bytes: u64,
}

impl Index {
    pub(super) fn with_room(slots: usize) -> Self {
        Self {
            by_block: HashMap::with_capacity(slots),
            slots: Vec::with_capacity(slots),
            ..Self::default()
        }
    }

    /// Takes the next slot's record as it was read. A second record of a block is free.
    pub(super) fn load(&mut self, record: Record) {
        let slot = self.slots.len() as u32;
        if record.block == 0 || self.by_block.contains_key(&record.block) {
            self.slots.push(Slot::default());
            self.free.push(slot);
            return;
        }
        self.slots.push(Slot {
            block: record.block,
            size: record.size,
            uses: 0,
        });
        self.by_block.insert(record.block, slot);
        self.bytes += u64::from(record.size);
    }

    pub(super) fn len(&self) -> usize {
        self.by_block.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a block is there, of whatever size.
    pub(super) fn has(&self, block: u64) -> bool {
        self.by_block.contains_key(&block)
    }

    /// The slot of a block of this size.
    pub(super) fn find(&self, block: u64, size: u32) -> Option<u32> {
        let slot = *self.by_block.get(&block)?;
        (self.slots[slot as usize].size == size).then_some(slot)
    }

    /// The same, and counts the use.
    pub(super) fn find_and_use(&mut self, block: u64, size: u32) -> Option<u32> {
        let slot = self.find(block, size)?;
        let uses = &mut self.slots[slot as usize].uses;
        *uses = (*uses + 1).min(MOST_USES);
        Some(slot)
    }

    /// A free slot for the caller to fill, before [`Index::add`].
    pub(super) fn take_slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        })
    }

    /// Gives back a slot that was not filled.
    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Enters a block whose slot is filled.
    pub(super) fn add(&mut self, slot: u32, block: u64, size: u32) {
        self.slots[slot as usize] = Slot {
            block,
            size,
            uses: 0,
        };
        self.by_block.insert(block, slot);
        self.bytes += u64::from(size);
    }

    /// Takes a block out. Its slot is free once [`Index::give_back`] is called.
    pub(super) fn remove(&mut self, block: u64) -> Option<Removed> {
        let slot = self.by_block.remove(&block)?;
        let size = std::mem::take(&mut self.slots[slot as usize]).size;
        self.bytes -= u64::from(size);
        Some(Removed { slot, block, size })
    }

    /// Takes out the block that is needed least; `None` if there is none.
    pub(super) fn evict(&mut self) -> Option<Removed> {
        if self.by_block.is_empty() {
            return None;
        }
        loop {
            self.hand = if self.hand + 1 < self.slots.len() {
                self.hand + 1
            } else {
                0
            };
            let slot = &mut self.slots[self.hand];
            match (slot.block, slot.uses) {
                (0, _) => {}
                (block, 0) => return self.remove(block),
                (_, uses) => slot.uses = uses - 1,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn key(slice: u64, index: u32) -> BlockKey {
        BlockKey {
            slice: SliceId(slice),
            index,
            size: 1,
        }
    }

    #[test]
    fn packing_is_exact_where_it_fits() {
        for (slice, index) in [(1, 0), (1, 1023), ((1 << 53) - 1, 2047)] {
            assert_eq!(
                unpack(pack(key(slice, index)).unwrap()),
                (SliceId(slice), index)
            );
        }
        assert_eq!(pack(key(0, 1)), None, "a hole");
        assert_eq!(pack(key(1 << 53, 0)), None, "no volume has as many slices");
    }

    #[test]
    fn what_is_used_stays_longer() {
        let mut index = Index::default();
        for block in 1..=100 {
            let slot = index.take_slot();
            index.add(slot, block, 10);
        }
        for block in 1..=10 {
            index.find_and_use(block, 10).unwrap();
        }
        for _ in 0..90 {
            let gone = index.evict().unwrap();
            assert!(gone.block > 10, "{gone:?} was used");
            index.give_back(gone.slot);
        }
        assert_eq!((index.len(), index.bytes()), (10, 100));
        assert_eq!(index.find(3, 11), None, "another size is another block");
        while index.evict().is_some() {}
        assert_eq!((index.len(), index.bytes()), (0, 0));
    }

    /// 1 TiB of 4 MiB blocks, and as many blocks of small files again.
    #[test]
    fn half_a_million_blocks_load_quickly_and_are_small() {
        const BLOCKS: u64 = 1 << 19;
        let begun = Instant::now();
        let mut index = Index::with_room(BLOCKS as usize);
        for block in 1..=BLOCKS {
            index.load(Record {
                block: block << INDEX_BITS,
                size: 4 << 20,
            });
        }
        println!("loaded {BLOCKS} records in {:?}", begun.elapsed());
        let map = index.by_block.capacity() as u64 * 8 / 7 * (size_of::<(u64, u32)>() as u64 + 1);
        let slots = (index.slots.capacity() * size_of::<Slot>()) as u64;
        let each = (map + slots) / BLOCKS;
        assert!(each <= 100, "{each} bytes a block");
    }
}
