//! The pool: the bounded memory that written data lies in.
//!
//! Whoever wants a page when there is none waits, first come, first served. Pages get
//! memory in batches and give it back when the pool is trimmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::free::{Area, FreeList};
use crate::header::MARK_PAGES;
use crate::layout::Layout;
use crate::mapping::Mapping;
use crate::page::{Extent, Page};
use crate::pages::Pages;
use crate::record::{ExtentRecord, NO_PAGE};
use crate::table::{Entry, Table};

/// How many pages get memory at a time: a megabyte of the usual pages.
const BATCH: u32 = 16;

/// No page came free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write buffers are full and were not drained in time")]
pub struct PoolFull;

/// The pages of a region. Clones are the same pool.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Pages>,
}

/// Acknowledged bytes that a predecessor left.
#[derive(Debug)]
pub struct RecoveredPage {
    /// The page, unless its bytes are all in the object store.
    pub page: Option<Page>,
    /// What it holds.
    pub extents: Vec<Extent>,
}

impl RecoveredPage {
    /// Leaves everything for another successor.
    pub fn leave(self) {
        self.extents.into_iter().for_each(Extent::leave);
    }
}

type Found = Vec<(Entry<ExtentRecord>, ExtentRecord)>;

impl Pool {
    /// Opens the pool. `found` are the extents that a predecessor published.
    pub(crate) fn open(
        mapping: &Arc<Mapping>,
        layout: &Layout,
        extents: Table<ExtentRecord>,
        found: Found,
    ) -> (Self, Vec<RecoveredPage>) {
        let config = &layout.config;
        let (by_page, uploaded) = group(found, config.pool_pages, config.page_size);
        let area = Area {
            offset: layout.pool,
            stride: config.page_size as usize,
            count: config.pool_pages,
            mark: MARK_PAGES,
            batch: BATCH,
        };
        let pool = Self {
            shared: Arc::new(Pages {
                mapping: Arc::clone(mapping),
                free: FreeList::open(mapping, area, |index| by_page.contains_key(&index)),
                extents,
                page_size: config.page_size as usize,
                permits: Arc::new(Semaphore::new(config.pool_pages as usize)),
            }),
        };
        let mut recovered: Vec<_> = by_page
            .into_iter()
            .filter_map(|(index, found)| pool.adopt(index, found))
            .collect();
        if !uploaded.is_empty() {
            let extents = uploaded
                .into_iter()
                .map(|(entry, record)| Extent::without_page(entry, record))
                .collect();
            let page = None;
            recovered.push(RecoveredPage { page, extents });
        }
        (pool, recovered)
    }

    fn adopt(&self, index: u32, found: Found) -> Option<RecoveredPage> {
        let permit = Arc::clone(&self.shared.permits).try_acquire_owned().ok()?;
        let page = Page::new(&self.shared, index, permit);
        let extents = found
            .into_iter()
            .map(|(entry, record)| page.adopt(entry, record))
            .collect();
        let page = Some(page);
        Some(RecoveredPage { page, extents })
    }

    /// A page, if one is free and nobody waits for it.
    pub fn try_alloc(&self) -> Option<Page> {
        let permit = Arc::clone(&self.shared.permits).try_acquire_owned().ok()?;
        Some(self.take(permit))
    }

    /// A page, waiting for one until `deadline`. Waiters are served in their order.
    pub async fn alloc(&self, deadline: Instant) -> Result<Page, PoolFull> {
        if let Some(page) = self.try_alloc() {
            return Ok(page);
        }
        let permit = Arc::clone(&self.shared.permits).acquire_owned();
        let permit = tokio::time::timeout_at(deadline.into(), permit)
            .await
            .map_err(|_| PoolFull)?
            .map_err(|_| PoolFull)?;
        Ok(self.take(permit))
    }

    fn take(&self, permit: OwnedSemaphorePermit) -> Page {
        let index = self.shared.free.take_promised();
        Page::new(&self.shared, index, permit)
    }

    /// The number of pages.
    pub fn capacity(&self) -> usize {
        self.shared.free.area().count as usize
    }

    /// How many pages are not in use.
    pub fn available(&self) -> usize {
        self.shared.permits.available_permits()
    }

    /// The length of a page.
    pub fn page_size(&self) -> usize {
        self.shared.page_size
    }

    /// Gives the memory of idle pages back, except the `keep` warmest.
    pub fn trim(&self, keep: usize) -> usize {
        self.shared.free.trim(keep)
    }
}

/// Sorts what was found by page. A record that names no possible place is retired.
fn group(found: Found, pages: u32, page_size: u32) -> (BTreeMap<u32, Found>, Found) {
    let mut by_page = BTreeMap::<u32, Found>::new();
    let mut uploaded = Found::new();
    for (entry, record) in found {
        let end = u64::from(record.page_offset) + u64::from(record.len);
        if record.page == NO_PAGE {
            uploaded.push((entry, record));
        } else if record.page < pages && end <= u64::from(page_size) {
            by_page
                .entry(record.page)
                .or_default()
                .push((entry, record));
        } else {
            tracing::error!(?record, "an extent record names no place in the pool");
        }
    }
    (by_page, uploaded)
}
