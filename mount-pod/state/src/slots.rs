//! The slots: where a request lies from being read to being answered.
//!
//! A reader thread takes a big slot and reads the kernel straight into it. A request
//! that turns out to be small moves to a small slot, and the big one is used again at
//! once; a big one keeps its slot until it is answered.
//!
//! The **state word** says what a successor must do: *free* (nothing), *reading* (look
//! at the request's header: if it has a unique, the kernel delivered it), *read*
//! (answer it), *begun* (the journal says what; ask the database whether it was done),
//! *answered* (nothing). While a request moves, it stands in two slots; its **unique**
//! makes them one.
//!
//! Of a request this module knows its first sixteen bytes only: length `u32`,
//! operation `u32`, unique `u64`. The highest bit of a unique marks a request that the
//! kernel sent again and is not part of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::cell::{Cell, Content};
use crate::free::{Area, FreeList};
use crate::header::{MARK_BIG, MARK_SMALL};
use crate::layout::{CELL_LEN, Layout, REQUEST_HEAD, SLOT_WORDS, SMALL_PAGE, big_stride};
use crate::mapping::Mapping;
use crate::record::{JournalRecord, Record};

/// The bit of a unique that marks a request which was sent again.
pub const RESENT: u64 = 1 << 63;

/// What a slot's state word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotState {
    /// Nothing is in it.
    Free = 0,
    /// The kernel may be writing to it.
    Reading = 1,
    /// A request is in it.
    Read = 2,
    /// Its operation was begun.
    Begun = 3,
    /// Its reply was written.
    Answered = 4,
}

impl SlotState {
    fn from_word(word: u32) -> Self {
        match word {
            1 => Self::Reading,
            2 => Self::Read,
            3 => Self::Begun,
            4 => Self::Answered,
            _ => Self::Free,
        }
    }
}

/// All slots of a region.
#[derive(Debug, Clone)]
pub struct Slots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mapping: Arc<Mapping>,
    layout: Layout,
    big: FreeList,
    small: FreeList,
}

impl Inner {
    /// Where a slot's request begins and how long it may be.
    fn place(&self, index: u32) -> (usize, usize) {
        let config = &self.layout.config;
        if index < config.big_slots {
            let start = self.layout.big_slots + index as usize * big_stride(config);
            let len = REQUEST_HEAD + config.max_write as usize;
            return (start + SMALL_PAGE - REQUEST_HEAD, len);
        }
        let len = config.small_slot_len as usize;
        let number = (index - config.big_slots) as usize;
        (self.layout.small_slots + number * len, len)
    }

    fn word(&self, index: u32) -> usize {
        self.layout.slot_words + index as usize * SLOT_WORDS
    }

    fn state(&self, index: u32) -> SlotState {
        let word = self.mapping.word32(self.word(index));
        SlotState::from_word(word.load(Ordering::Acquire))
    }

    fn set_state(&self, index: u32, state: SlotState) {
        let word = self.mapping.word32(self.word(index));
        word.store(state as u32, Ordering::Release);
    }

    fn set_clone(&self, index: u32, clone: u32) {
        let word = self.mapping.word32(self.word(index) + 4);
        word.store(clone, Ordering::Relaxed);
    }

    fn clone_of(&self, index: u32) -> u32 {
        let word = self.mapping.word32(self.word(index) + 4);
        word.load(Ordering::Relaxed)
    }

    fn sequence(&self, index: u32) -> u64 {
        let word = self.mapping.word64(self.word(index) + 8);
        word.load(Ordering::Relaxed)
    }

    fn next_sequence(&self, index: u32) -> u64 {
        let word = self.mapping.word64(self.word(index) + 8);
        word.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Forgets the header of the request that was here before.
    fn clear_head(&self, index: u32) {
        let (offset, _) = self.place(index);
        // SAFETY: only the slot's owner calls this.
        unsafe { self.mapping.clear(offset, 16) }
    }

    fn give(&self, index: u32) {
        self.set_state(index, SlotState::Free);
        let big = self.layout.config.big_slots;
        if index < big {
            self.big.give(index);
        } else {
            self.small.give(index - big);
        }
    }

    fn journal_cell(&self, index: u32) -> (Cell, Content) {
        let offset = self.layout.journal + index as usize * CELL_LEN;
        Cell::open(&self.mapping, offset, CELL_LEN / 2)
    }

    /// The length and unique of the request in a slot, if there is one.
    fn head(&self, index: u32) -> Option<(usize, u64)> {
        let (offset, room) = self.place(index);
        // SAFETY: called for slots that nobody writes (attaching) or that are ours.
        let head = unsafe { self.mapping.bytes(offset, 16) };
        let len = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
        let unique = u64::from_le_bytes(head[8..].try_into().ok()?) & !RESENT;
        (unique != 0 && len >= 16 && len <= room).then_some((len, unique))
    }
}

impl Slots {
    /// Opens the slots and returns the requests that a predecessor left unanswered.
    pub(crate) fn open(mapping: &Arc<Mapping>, layout: &Layout) -> (Self, Vec<Request>) {
        let bare = Self {
            inner: Arc::new(Inner::new(mapping, layout, &BTreeMap::new())),
        };
        let pending = bare.scan();
        if pending.is_empty() {
            return (bare, Vec::new());
        }
        let slots = Self {
            inner: Arc::new(Inner::new(mapping, layout, &pending)),
        };
        let requests = pending
            .into_iter()
            .map(|(index, len)| Request::new(&slots.inner, index, len))
            .collect();
        (slots, requests)
    }

    /// The slots with an unanswered request and its length. All others are freed.
    fn scan(&self) -> BTreeMap<u32, usize> {
        let inner = &*self.inner;
        let big = inner.layout.config.big_slots;
        let mark = |at| inner.mapping.word32(at).load(Ordering::Acquire);
        let used = (0..mark(MARK_BIG)).chain((0..mark(MARK_SMALL)).map(|index| big + index));
        let mut by_unique = BTreeMap::<u64, (SlotState, u32, usize)>::new();
        for index in used {
            let state = inner.state(index);
            let open = !matches!(state, SlotState::Free | SlotState::Answered);
            let Some((len, unique)) = open.then(|| inner.head(index)).flatten() else {
                inner.set_state(index, SlotState::Free);
                continue;
            };
            let known = by_unique.get(&unique).copied();
            let (keep, free) = match known {
                // A request that was moving: where it was begun, or moved to, counts.
                Some(other) if other.0 as u32 >= state as u32 => (other, Some(index)),
                other => ((state, index, len), other.map(|(_, index, _)| index)),
            };
            if let Some(copy) = free {
                inner.set_state(copy, SlotState::Free);
            }
            by_unique.insert(unique, keep);
        }
        by_unique
            .into_values()
            .map(|(state, index, len)| {
                if state == SlotState::Reading {
                    inner.set_state(index, SlotState::Read);
                }
                (index, len)
            })
            .collect()
    }

    /// Takes a big slot for reading on a clone, waiting at most `patience` for one.
    pub fn take_for_read(&self, clone: u32, patience: Duration) -> Option<ReadSlot> {
        let inner = &self.inner;
        let index = inner.big.take_within(patience)?;
        inner.clear_head(index);
        inner.set_clone(index, clone);
        inner.next_sequence(index);
        inner.set_state(index, SlotState::Reading);
        Some(ReadSlot {
            inner: Arc::clone(inner),
            index,
        })
    }

    /// Turns what was read into a request. The slot comes back if the request was small.
    pub fn accept(&self, mut slot: ReadSlot, len: usize) -> (Request, Option<ReadSlot>) {
        let inner = &self.inner;
        let moved = (len <= inner.layout.config.small_slot_len as usize)
            .then(|| inner.small.take())
            .flatten();
        let Some(number) = moved else {
            let index = slot.index;
            inner.set_state(index, SlotState::Read);
            // The request owns the slot now.
            std::mem::forget(slot);
            return (Request::new(inner, index, len), None);
        };
        let index = inner.layout.config.big_slots + number;
        inner.set_clone(index, inner.clone_of(slot.index));
        inner.next_sequence(index);
        let (to, _) = inner.place(index);
        // SAFETY: the small slot was just taken, so it is ours.
        unsafe { inner.mapping.write(to, &slot.buffer()[..len]) };
        inner.set_state(index, SlotState::Read);
        inner.clear_head(slot.index);
        (Request::new(inner, index, len), Some(slot))
    }

    /// Gives the memory of idle slots back, except some that stay warm.
    pub(crate) fn trim(&self, big: usize, small: usize) {
        self.inner.big.trim(big);
        self.inner.small.trim(small);
    }
}

impl Inner {
    fn new(mapping: &Arc<Mapping>, layout: &Layout, used: &BTreeMap<u32, usize>) -> Self {
        let config = &layout.config;
        let big = Area {
            offset: layout.big_slots,
            stride: big_stride(config),
            count: config.big_slots,
            mark: MARK_BIG,
            batch: 1,
        };
        let small = Area {
            offset: layout.small_slots,
            stride: config.small_slot_len as usize,
            count: config.small_slots,
            mark: MARK_SMALL,
            // The kernel never writes to small slots: faults are ours and harmless.
            batch: 0,
        };
        let first_small = config.big_slots;
        Self {
            mapping: Arc::clone(mapping),
            layout: *layout,
            big: FreeList::open(mapping, big, |index| used.contains_key(&index)),
            small: FreeList::open(mapping, small, |n| used.contains_key(&(n + first_small))),
        }
    }
}

/// A slot that a reader thread reads into.
#[derive(Debug)]
pub struct ReadSlot {
    inner: Arc<Inner>,
    index: u32,
}

impl ReadSlot {
    /// The memory to read into: `max_write` bytes and what precedes them.
    pub fn buffer(&mut self) -> &mut [u8] {
        let (offset, len) = self.inner.place(self.index);
        // SAFETY: the slot is owned by this value, which is borrowed mutably.
        unsafe { self.inner.mapping.bytes_mut(offset, len) }
    }
}

impl Drop for ReadSlot {
    fn drop(&mut self) {
        self.inner.clear_head(self.index);
        self.inner.give(self.index);
    }
}

/// A request in its slot. Clones share it; the slot is free again when the request was
/// answered and the last clone and view of it are gone. One that is dropped without
/// having been answered stays in its slot, for a successor.
#[derive(Debug, Clone)]
pub struct Request {
    inner: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    slots: Arc<Inner>,
    index: u32,
    len: usize,
    answered: AtomicBool,
}

impl Request {
    fn new(slots: &Arc<Inner>, index: u32, len: usize) -> Self {
        Self {
            inner: Arc::new(Held {
                slots: Arc::clone(slots),
                index,
                len,
                answered: AtomicBool::new(false),
            }),
        }
    }

    /// The whole request.
    pub fn bytes(&self) -> &[u8] {
        self.inner.request()
    }

    /// A part of the request that keeps the slot while it lives.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        Bytes::from_owner(View(Arc::clone(&self.inner))).slice(range)
    }

    /// The clone that the request was read from, to which the reply must go.
    pub fn clone_index(&self) -> u32 {
        self.inner.slots.clone_of(self.inner.index)
    }

    /// The slot's number.
    pub fn slot(&self) -> u32 {
        self.inner.index
    }

    /// The slot's sequence number: (session, slot, sequence) names the request for ever.
    pub fn sequence(&self) -> u64 {
        self.inner.slots.sequence(self.inner.index)
    }

    /// What the state word says.
    pub fn state(&self) -> SlotState {
        self.inner.slots.state(self.inner.index)
    }

    /// Writes down that an operation begins (or goes on, with more ids).
    pub fn begin(&self, record: JournalRecord) {
        let Held { slots, index, .. } = &*self.inner;
        let sequence = self.sequence();
        let (mut cell, _) = slots.journal_cell(*index);
        let record = JournalRecord { sequence, ..record };
        cell.write(JournalRecord::KIND, &record.encode());
        slots.set_state(*index, SlotState::Begun);
    }

    /// What was begun for this request, by this process or a predecessor.
    pub fn journal(&self) -> Option<JournalRecord> {
        if self.state() != SlotState::Begun {
            return None;
        }
        let (_, content) = self.inner.slots.journal_cell(self.inner.index);
        let Content::Value { payload, .. } = content else {
            return None;
        };
        let record = JournalRecord::decode(payload.as_slice().try_into().ok()?);
        (record.sequence == self.sequence()).then_some(record)
    }

    /// Marks the request answered, after its reply was written.
    pub fn answered(&self) {
        let held = &*self.inner;
        held.slots.set_state(held.index, SlotState::Answered);
        held.answered.store(true, Ordering::Release);
    }
}

impl Held {
    fn request(&self) -> &[u8] {
        let (offset, _) = self.slots.place(self.index);
        // SAFETY: a request is not written after it was accepted, and its slot is not
        // given away while this value lives.
        unsafe { self.slots.mapping.bytes(offset, self.len) }
    }
}

struct View(Arc<Held>);

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self.0.request()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.answered.load(Ordering::Acquire) {
            self.slots.give(self.index);
        }
    }
}
