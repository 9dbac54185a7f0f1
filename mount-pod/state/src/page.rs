//! A page of the pool: written by one owner, read by many.
//!
//! A **view** is a [`Bytes`] of a part of a page. While views live, only the bytes
//! behind the **frozen** end (the furthest end of any view) may be written: so a page
//! that fills up can be read, uploaded and written at the same time, and no byte that
//! somebody reads ever changes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::pages::Pages;
use crate::record::{ExtentRecord, NO_PAGE};
use crate::table::{Entry, TableFull};

/// The bytes are being read; write them to another page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the page's bytes are being read and cannot be overwritten")]
pub struct Frozen;

/// A page that this process owns. Its memory is free again when the page, its views
/// and its extents are gone.
#[derive(Debug)]
pub struct Page {
    held: Arc<Held>,
    frozen: AtomicU32,
}

#[derive(Debug)]
pub(crate) struct Held {
    pool: Arc<Pages>,
    index: u32,
    views: AtomicU32,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    fn offset(&self) -> usize {
        self.pool.page_offset(self.index)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.free.give(self.index);
    }
}

impl Page {
    pub(crate) fn new(pool: &Arc<Pages>, index: u32, permit: OwnedSemaphorePermit) -> Self {
        Self {
            held: Arc::new(Held {
                pool: Arc::clone(pool),
                index,
                views: AtomicU32::new(0),
                _permit: permit,
            }),
            frozen: AtomicU32::new(0),
        }
    }

    /// The length of a page.
    pub fn capacity(&self) -> usize {
        self.held.pool.page_size
    }

    /// Whether `offset..` may be written now.
    fn is_writable(&self, offset: usize) -> bool {
        offset >= self.frozen.load(Ordering::Relaxed) as usize
            || self.held.views.load(Ordering::Acquire) == 0
    }

    /// Writes `data` at `offset`. Panics if it does not fit.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Frozen> {
        assert!(offset + data.len() <= self.capacity(), "beyond the page");
        if !self.is_writable(offset) {
            return Err(Frozen);
        }
        if self.held.views.load(Ordering::Acquire) == 0 {
            *self.frozen.get_mut() = 0;
        }
        let offset = self.held.offset() + offset;
        // SAFETY: `&mut self` excludes other writers, borrows and new views; the views
        // that live, if any, end before `offset`. The pages of a pool do not overlap.
        unsafe { self.held.pool.mapping.write(offset, data) };
        Ok(())
    }

    /// The bytes of a range. What was never written has no defined value.
    pub fn as_slice(&self, range: Range<usize>) -> &[u8] {
        assert!(range.end <= self.capacity(), "beyond the page");
        let offset = self.held.offset() + range.start;
        // SAFETY: writing takes `&mut self`, which this borrow excludes.
        unsafe { self.held.pool.mapping.bytes(offset, range.len()) }
    }

    /// The bytes of a range, without a copy, for as long as the caller likes.
    pub fn view(&self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end, "a range that runs backwards");
        assert!(range.end <= self.capacity(), "beyond the page");
        self.frozen.fetch_max(range.end as u32, Ordering::Relaxed);
        self.held.views.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(View {
            held: Arc::clone(&self.held),
            range,
        })
    }

    /// Publishes that bytes of this page are acknowledged bytes of a file. `page` is
    /// filled in here.
    pub fn publish(&self, record: ExtentRecord) -> Result<Extent, TableFull> {
        let page = self.held.index;
        let record = ExtentRecord { page, ..record };
        Ok(Extent {
            entry: self.held.pool.extents.insert(&record)?,
            record,
            page: Some(Arc::clone(&self.held)),
        })
    }

    pub(crate) fn adopt(&self, entry: Entry<ExtentRecord>, record: ExtentRecord) -> Extent {
        Extent {
            entry,
            record,
            page: Some(Arc::clone(&self.held)),
        }
    }
}

struct View {
    held: Arc<Held>,
    range: Range<usize>,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        let offset = self.held.offset() + self.range.start;
        // SAFETY: while this view is counted, the page's owner writes only behind the
        // frozen end, which is not before this range's end.
        unsafe { self.held.pool.mapping.bytes(offset, self.range.len()) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.held.views.fetch_sub(1, Ordering::Release);
    }
}

/// A published extent. Dropping it retires its record: do so when the bytes are
/// committed, or were discarded.
#[derive(Debug)]
pub struct Extent {
    // The record goes first: a page must not be free while a record names it.
    entry: Entry<ExtentRecord>,
    record: ExtentRecord,
    page: Option<Arc<Held>>,
}

impl Extent {
    pub(crate) fn without_page(entry: Entry<ExtentRecord>, record: ExtentRecord) -> Self {
        Self {
            entry,
            record,
            page: None,
        }
    }

    /// The record as published.
    pub fn record(&self) -> &ExtentRecord {
        &self.record
    }

    /// Changes the record (more bytes, its slice): a successor finds it as it was or as
    /// it is. The page stays the same.
    pub fn update(&mut self, change: impl FnOnce(&mut ExtentRecord)) {
        let page = self.record.page;
        change(&mut self.record);
        self.record.page = page;
        self.entry.update(&self.record);
    }

    /// The bytes are in the object store: the record stays until the commit, the page
    /// is not needed any more.
    pub fn uploaded(&mut self) {
        self.record.page = NO_PAGE;
        self.entry.update(&self.record);
        self.page = None;
    }

    /// Leaves record and page for a successor. This process does not use them again.
    pub fn leave(self) {
        let Self { entry, page, .. } = self;
        entry.leave();
        std::mem::forget(page);
    }
}
