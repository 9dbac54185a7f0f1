//! The memory that pages lie in, and who may have one.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::free::FreeList;
use crate::mapping::Mapping;
use crate::record::ExtentRecord;
use crate::table::Table;

#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) free: FreeList,
    pub(crate) extents: Table<ExtentRecord>,
    pub(crate) page_size: usize,
    /// One permit for each page that is not in use; it is fair.
    pub(crate) permits: Arc<Semaphore>,
}

impl Pages {
    pub(crate) fn page_offset(&self, index: u32) -> usize {
        self.free.area().offset + index as usize * self.page_size
    }
}
