//! Where each section of a region lies: pure arithmetic from the [`Config`].

use crate::StateError;

/// The first eight bytes of a region.
pub const MAGIC: [u8; 8] = *b"CARAFE\0\x01";
/// The layout that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// What precedes the data of a WRITE request: the request header and the arguments,
/// 40 bytes each.
pub const REQUEST_HEAD: usize = 80;

pub(crate) const SMALL_PAGE: usize = 4096;
pub(crate) const HEADER_LEN: usize = 2 * SMALL_PAGE;
pub(crate) const SLOT_WORDS: usize = 64;
pub(crate) const CELL_LEN: usize = 128;

/// How many of each thing a region has room for. Only what is used takes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Slots that take a whole request of `max_write` bytes.
    pub big_slots: u32,
    /// The most data that one request carries.
    pub max_write: u32,
    /// Slots for requests that turned out to be small. Waiting lock requests stay in
    /// these, so there must be many.
    pub small_slots: u32,
    /// The length of a small slot.
    pub small_slot_len: u32,
    /// Open handles, and as many lock records.
    pub handles: u32,
    /// Extent records.
    pub extents: u32,
    /// Pages of the pool.
    pub pool_pages: u32,
    /// The length of a page of the pool.
    pub page_size: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self::with_pool(300 << 20)
    }
}

impl Config {
    /// The usual configuration with a pool of (about) `bytes`.
    pub fn with_pool(bytes: u64) -> Self {
        let page_size = 64 << 10;
        let pool_pages = bytes.div_ceil(u64::from(page_size)).clamp(16, 1 << 24) as u32;
        Self {
            big_slots: 64,
            max_write: 1 << 20,
            small_slots: 4096,
            small_slot_len: 8 << 10,
            handles: 65_536,
            extents: pool_pages.saturating_mul(4).max(1024),
            pool_pages,
            page_size,
        }
    }

    pub(crate) fn words(&self) -> [u32; 8] {
        [
            self.big_slots,
            self.max_write,
            self.small_slots,
            self.small_slot_len,
            self.handles,
            self.extents,
            self.pool_pages,
            self.page_size,
        ]
    }

    pub(crate) fn from_words(words: [u32; 8]) -> Self {
        let [
            big_slots,
            max_write,
            small_slots,
            small_slot_len,
            handles,
            extents,
            pool_pages,
            page_size,
        ] = words;
        Self {
            big_slots,
            max_write,
            small_slots,
            small_slot_len,
            handles,
            extents,
            pool_pages,
            page_size,
        }
    }

    fn check(&self) -> Result<(), StateError> {
        let whole = |len: u32| len > 0 && (len as usize).is_multiple_of(SMALL_PAGE);
        if self.words().contains(&0) {
            return Err(StateError::Config("every count must be positive"));
        }
        if !whole(self.max_write) || !whole(self.small_slot_len) || !whole(self.page_size) {
            return Err(StateError::Config("lengths must be multiples of 4 KiB"));
        }
        if u64::from(self.big_slots) + u64::from(self.small_slots) > 1 << 20 {
            return Err(StateError::Config("more than a million slots"));
        }
        Ok(())
    }
}

/// The offset of each section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) config: Config,
    pub(crate) slot_words: usize,
    pub(crate) journal: usize,
    pub(crate) handles: usize,
    pub(crate) locks: usize,
    pub(crate) extents: usize,
    pub(crate) big_slots: usize,
    pub(crate) small_slots: usize,
    pub(crate) pool: usize,
    pub(crate) total: usize,
}

impl Layout {
    pub(crate) fn new(config: Config) -> Result<Self, StateError> {
        config.check()?;
        let slots = (config.big_slots + config.small_slots) as usize;
        let mut end = HEADER_LEN;
        let mut section = |len: usize| {
            let start = end;
            end = (start + len).next_multiple_of(SMALL_PAGE);
            start
        };
        let slot_words = section(slots * SLOT_WORDS);
        let journal = section(slots * CELL_LEN);
        let handles = section(config.handles as usize * CELL_LEN);
        let locks = section(config.handles as usize * CELL_LEN);
        let extents = section(config.extents as usize * CELL_LEN);
        let big_slots = section(config.big_slots as usize * big_stride(&config));
        let small_slots = section(config.small_slots as usize * config.small_slot_len as usize);
        let pool = section(config.pool_pages as usize * config.page_size as usize);
        let total = section(0);
        Ok(Self {
            config,
            slot_words,
            journal,
            handles,
            locks,
            extents,
            big_slots,
            small_slots,
            pool,
            total,
        })
    }
}

/// A big slot is its data, page aligned, and one page for what precedes it.
pub(crate) fn big_stride(config: &Config) -> usize {
    SMALL_PAGE + config.max_write as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn sections_do_not_overlap_and_are_aligned() {
        let layout = Layout::new(Config::default()).unwrap();
        let starts = [
            0,
            layout.slot_words,
            layout.journal,
            layout.handles,
            layout.locks,
            layout.extents,
            layout.big_slots,
            layout.small_slots,
            layout.pool,
            layout.total,
        ];
        assert!(starts.is_sorted_by(|a, b| a < b));
        assert!(starts.iter().all(|start| start % SMALL_PAGE == 0));
    }

    #[test]
    fn refuses_what_the_layout_cannot_hold() {
        let odd = Config {
            page_size: 5000,
            ..Config::default()
        };
        assert!(Layout::new(odd).is_err());
        let none = Config {
            extents: 0,
            ..Config::default()
        };
        assert!(Layout::new(none).is_err());
    }
}
