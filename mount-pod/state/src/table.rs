//! A table: cells of one record type, given out and taken back.
//!
//! An **entry** owns one cell: dropping it retires the record, [`Entry::leave`] keeps
//! the record for a successor. The **high-water mark** in the header is the number of
//! cells that were ever used, so that attaching reads (and gives memory to) no more
//! than those.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::cell::{Cell, Content};
use crate::layout::CELL_LEN;
use crate::mapping::Mapping;
use crate::record::{RECORD_LEN, Record};

/// No cell of the table is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state table is full")]
pub struct TableFull;

/// The cells of one record type.
#[derive(Debug)]
pub struct Table<R> {
    inner: Arc<Inner>,
    record: PhantomData<fn() -> R>,
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            record: PhantomData,
        }
    }
}

#[derive(Debug)]
struct Inner {
    mapping: Arc<Mapping>,
    offset: usize,
    count: u32,
    mark: usize,
    /// Retired cells, the warmest last.
    free: Mutex<Vec<Cell>>,
}

impl Inner {
    fn open(&self, index: u32) -> (Cell, Content) {
        let offset = self.offset + index as usize * CELL_LEN;
        Cell::open(&self.mapping, offset, CELL_LEN / 2)
    }

    fn take(&self) -> Option<Cell> {
        let mut free = self.free.lock();
        if let Some(cell) = free.pop() {
            return Some(cell);
        }
        let mark = self.mapping.word32(self.mark);
        let used = mark.load(Ordering::Relaxed);
        (used < self.count).then(|| {
            mark.store(used + 1, Ordering::Release);
            self.open(used).0
        })
    }
}

impl<R: Record> Table<R> {
    /// Opens a table and returns the entries that a predecessor left, and how many
    /// cells could not be read.
    pub(crate) fn open(
        mapping: &Arc<Mapping>,
        offset: usize,
        count: u32,
        mark: usize,
    ) -> (Self, Vec<(Entry<R>, R)>, usize) {
        let inner = Arc::new(Inner {
            mapping: Arc::clone(mapping),
            offset,
            count,
            mark,
            free: Mutex::default(),
        });
        let used = mapping.word32(mark).load(Ordering::Acquire).min(count);
        let mut torn = 0;
        let mut found = Vec::new();
        for index in 0..used {
            let (cell, content) = inner.open(index);
            torn += usize::from(content == Content::Torn);
            match decode::<R>(&content) {
                Some(record) => found.push((Entry::new(&inner, cell), record)),
                None => inner.free.lock().push(cell),
            }
        }
        let table = Self {
            inner,
            record: PhantomData,
        };
        (table, found, torn)
    }

    /// Publishes a record: a successor finds it from now on.
    pub fn insert(&self, record: &R) -> Result<Entry<R>, TableFull> {
        let cell = self.inner.take().ok_or(TableFull)?;
        let mut entry = Entry::new(&self.inner, cell);
        entry.update(record);
        Ok(entry)
    }
}

fn decode<R: Record>(content: &Content) -> Option<R> {
    let Content::Value { kind, payload } = content else {
        return None;
    };
    let payload: &[u8; RECORD_LEN] = payload.as_slice().try_into().ok()?;
    (*kind == R::KIND).then(|| R::decode(payload))
}

/// A published record.
#[derive(Debug)]
pub struct Entry<R> {
    /// Absent once the entry was left.
    cell: Option<Cell>,
    table: Arc<Inner>,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Entry<R> {
    fn new(table: &Arc<Inner>, cell: Cell) -> Self {
        Self {
            cell: Some(cell),
            table: Arc::clone(table),
            record: PhantomData,
        }
    }

    /// Replaces the record at once: a successor finds the old one or the new one.
    pub fn update(&mut self, record: &R) {
        if let Some(cell) = &mut self.cell {
            cell.write(R::KIND, &record.encode());
        }
    }

    /// Gives the entry up without retiring its record, for a successor to find. This
    /// process does not use the cell again.
    pub fn leave(mut self) {
        self.cell = None;
    }
}

impl<R> Drop for Entry<R> {
    fn drop(&mut self) {
        if let Some(mut cell) = self.cell.take() {
            cell.write(0, &[]);
            self.table.free.lock().push(cell);
        }
    }
}
