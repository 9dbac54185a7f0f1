//! The page of a listing that is kept with its handle, and the cookies of entries.

use std::time::Instant;

use crate::{DirItem, recent::Asked};

/// The cookie behind `.`.
pub(crate) const BEHIND_DOT: u64 = 1;
/// The cookie behind `..`; those above are the engine's cursors and this.
pub(crate) const BEHIND_DOTS: u64 = 2;

/// The last page of a listing, for a caller that had no room for all of it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<DirItem>,
    /// The directory ends with it.
    pub(crate) end: bool,
    pub(crate) asked: Asked,
    /// When it was told.
    pub(crate) at: Instant,
}

impl Page {
    /// The rest of the page, if `cookie` goes on within it. From the start, a listing
    /// is always asked for anew.
    pub(crate) fn rest(&self, cookie: u64, plus: bool) -> Option<&[DirItem]> {
        let at = self.items.iter().position(|item| item.next == cookie)?;
        let rest = &self.items[at + 1..];
        let answers = match rest.first() {
            Some(first) => !plus || first.entry.is_some(),
            None => self.end,
        };
        (cookie >= BEHIND_DOTS && answers).then_some(rest)
    }
}
