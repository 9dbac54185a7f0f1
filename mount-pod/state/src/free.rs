//! A free list over an area of equal pieces, that knows which of them have memory.
//!
//! A piece is **resident** while it has memory. The warmest idle piece is given out
//! first, so that the memory in use stays as small as the load allows; pieces that
//! were never used lie above a high-water mark in the header.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::mapping::Mapping;

/// Where the pieces lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area {
    pub(crate) offset: usize,
    pub(crate) stride: usize,
    pub(crate) count: u32,
    /// The header word that holds the high-water mark.
    pub(crate) mark: usize,
    /// How many fresh pieces are given memory at a time; 0 leaves it to page faults.
    pub(crate) batch: u32,
}

#[derive(Debug)]
pub(crate) struct FreeList {
    mapping: Arc<Mapping>,
    area: Area,
    idle: Mutex<VecDeque<Idle>>,
    returned: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct Idle {
    index: u32,
    resident: bool,
}

impl FreeList {
    /// A list of the pieces below the mark that `used` does not name.
    pub(crate) fn open(mapping: &Arc<Mapping>, area: Area, used: impl Fn(u32) -> bool) -> Self {
        let mark = mapping.word32(area.mark).load(Ordering::Acquire);
        let idle = (0..mark.min(area.count))
            .rev()
            .filter(|index| !used(*index))
            .map(|index| Idle {
                index,
                resident: false,
            });
        Self {
            mapping: Arc::clone(mapping),
            area,
            idle: Mutex::new(idle.collect()),
            returned: Condvar::new(),
        }
    }

    pub(crate) fn area(&self) -> &Area {
        &self.area
    }

    /// A piece with memory, or `None` if all are in use.
    pub(crate) fn take(&self) -> Option<u32> {
        let mut idle = self.idle.lock();
        self.take_locked(&mut idle)
    }

    /// A piece for one who was promised it: by counting, there is one. It may be away
    /// for a moment, being given memory or trimmed.
    pub(crate) fn take_promised(&self) -> u32 {
        loop {
            if let Some(index) = self.take_within(Duration::from_millis(1)) {
                return index;
            }
        }
    }

    /// The same, waiting for a piece to come back.
    pub(crate) fn take_within(&self, patience: Duration) -> Option<u32> {
        let mut idle = self.idle.lock();
        if let Some(index) = self.take_locked(&mut idle) {
            return Some(index);
        }
        self.returned.wait_for(&mut idle, patience);
        self.take_locked(&mut idle)
    }

    fn take_locked(&self, idle: &mut MutexGuard<'_, VecDeque<Idle>>) -> Option<u32> {
        if let Some(piece) = idle.pop_back() {
            if !piece.resident && self.area.batch > 0 {
                MutexGuard::unlocked(idle, || self.populate(piece.index, 1));
            }
            return Some(piece.index);
        }
        let fresh = self.take_fresh()?;
        MutexGuard::unlocked(idle, || self.populate(fresh.start, fresh.len()));
        let resident = self.area.batch > 0;
        let rest = fresh.clone().skip(1).rev();
        idle.extend(rest.map(|index| Idle { index, resident }));
        if fresh.len() > 1 {
            self.returned.notify_all();
        }
        Some(fresh.start)
    }

    /// Raises the mark by a batch. The caller holds the lock.
    fn take_fresh(&self) -> Option<std::ops::Range<u32>> {
        let mark = self.mapping.word32(self.area.mark);
        let start = mark.load(Ordering::Relaxed);
        let end = (start + self.area.batch.max(1)).min(self.area.count);
        (start < end).then(|| {
            mark.store(end, Ordering::Release);
            start..end
        })
    }

    fn populate(&self, first: u32, pieces: usize) {
        if self.area.batch == 0 {
            return;
        }
        let offset = self.area.offset + first as usize * self.area.stride;
        if let Err(error) = self.mapping.populate(offset, pieces * self.area.stride) {
            // The piece is still usable: it gets its memory by faults.
            tracing::warn!(%error, "shared memory could not be populated");
        }
    }

    /// Takes a piece back.
    pub(crate) fn give(&self, index: u32) {
        let resident = true;
        self.idle.lock().push_back(Idle { index, resident });
        self.returned.notify_one();
    }

    /// Gives the memory of idle pieces back, except the `keep` warmest.
    pub(crate) fn trim(&self, keep: usize) -> usize {
        let mut freed = 0;
        while let Some(index) = self.coldest(keep) {
            let offset = self.area.offset + index as usize * self.area.stride;
            let resident = self.mapping.punch(offset, self.area.stride).is_err();
            self.idle.lock().push_front(Idle { index, resident });
            self.returned.notify_one();
            freed += 1;
            if resident {
                break;
            }
        }
        freed
    }

    /// Takes the coldest resident idle piece out of the list, if more than `keep` are.
    fn coldest(&self, keep: usize) -> Option<u32> {
        let mut idle = self.idle.lock();
        let first = idle.iter().position(|piece| piece.resident)?;
        if idle.len() - first <= keep {
            return None;
        }
        idle.remove(first).map(|piece| piece.index)
    }
}
