//! Directory pages from stateless cursors.
//!
//! Entries stand in the order of a hash of their name, which every client computes
//! alike over any engine. A **position** is that hash and, for names that share it, their
//! rank; a cursor is the position where a listing goes on. A **window** is the run of entries
//! behind one position that a scan of the directory found: it is kept for a moment, so that
//! the pages of one listing need one scan, and it is bounded, so that a huge directory
//! takes several scans but little memory.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_types::{Ino, Result};
use parking_lot::Mutex;

use super::Client;
use crate::{
    Call, Cursor, DirEntry, DirPage,
    engine::{Engine, RawEntry, Terms},
    ops::names,
};

/// Entries of one window: some 25 MB, and one scan for each part of this size.
const WINDOW: usize = 1 << 18;
/// Windows that are kept.
const KEPT: usize = 4;
/// How long a window answers for a directory that goes on changing.
const FRESH: Duration = Duration::from_secs(5);
/// Bits of a position below the hash.
const RANK_BITS: u32 = 16;

/// An entry's place in the order: by hash, then by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placed {
    hash: u64,
    entry: RawEntry,
}

impl Placed {
    fn key(&self) -> (u64, &[u8]) {
        (self.hash, &self.entry.name)
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The entries from one position on.
#[derive(Debug)]
struct Window {
    dir: Ino,
    /// The first position that it answers for.
    from: u64,
    /// The entries with their positions, in order.
    entries: Vec<(u64, RawEntry)>,
    /// Whether the directory ends with it.
    end: bool,
    made: Instant,
}

/// The windows that are kept.
#[derive(Default)]
pub(super) struct Listings {
    kept: Mutex<Vec<Arc<Window>>>,
}

/// The entries of a page with the cursor behind each, and whether it is the last.
pub(super) type Page = (Vec<(RawEntry, Cursor)>, bool);

impl Listings {
    /// A page of `dir` from `cursor` on.
    pub(super) async fn page<E: Engine>(
        &self,
        engine: &E,
        terms: Terms,
        dir: Ino,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Page> {
        // A listing that starts sees the directory as it is.
        let kept = if cursor.0 == 0 {
            None
        } else {
            self.find(dir, cursor.0)
        };
        let window = match kept {
            Some(window) => window,
            None => self.scan(engine, terms, dir, cursor.0).await?,
        };
        let (entries, end) = window.page(cursor.0, limit);
        if end || window.made.elapsed() >= FRESH {
            self.kept.lock().retain(|kept| !Arc::ptr_eq(kept, &window));
        }
        Ok((entries, end))
    }

    /// Gives back what listings left that nobody ended.
    pub(super) fn forget_old(&self) {
        self.kept
            .lock()
            .retain(|window| window.made.elapsed() < FRESH);
    }

    fn find(&self, dir: Ino, position: u64) -> Option<Arc<Window>> {
        let kept = self.kept.lock();
        kept.iter()
            .find(|window| {
                window.dir == dir && window.made.elapsed() < FRESH && window.covers(position)
            })
            .cloned()
    }

    async fn scan<E: Engine>(
        &self,
        engine: &E,
        terms: Terms,
        dir: Ino,
        from: u64,
    ) -> Result<Arc<Window>> {
        let mut gathering = Gathering::new(from, WINDOW);
        engine
            .scan_dir(terms, dir, &mut |entry| gathering.add(entry))
            .await?;
        let (entries, end) = gathering.finish();
        let window = Arc::new(Window {
            dir,
            from,
            entries,
            end,
            made: Instant::now(),
        });
        // A listing that fits one page is not asked for again.
        if window.entries.len() > 1 {
            let mut kept = self.kept.lock();
            kept.retain(|old| old.dir != dir && old.made.elapsed() < FRESH);
            if kept.len() >= KEPT {
                kept.remove(0);
            }
            kept.push(window.clone());
        }
        Ok(window)
    }
}

impl Window {
    fn covers(&self, position: u64) -> bool {
        position >= self.from
            && (self.end
                || self
                    .entries
                    .last()
                    .is_some_and(|(last, _)| position <= *last))
    }

    fn page(&self, cursor: u64, limit: usize) -> Page {
        let start = self
            .entries
            .partition_point(|(position, _)| *position < cursor);
        let stop = start.saturating_add(limit.max(1)).min(self.entries.len());
        let page = self.entries[start..stop]
            .iter()
            .map(|(at, entry)| (entry.clone(), Cursor(at + 1)))
            .collect();
        (page, self.end && stop == self.entries.len())
    }
}

/// The smallest entries from a position on, as a scan shows them in any order.
struct Gathering {
    from_hash: u64,
    from: u64,
    room: usize,
    found: BTreeSet<Placed>,
    left_out: bool,
}

impl Gathering {
    fn new(from: u64, room: usize) -> Self {
        Self {
            from_hash: from >> RANK_BITS,
            from,
            room,
            found: BTreeSet::new(),
            left_out: false,
        }
    }

    fn add(&mut self, entry: RawEntry) {
        let hash = hash(&entry.name);
        if hash < self.from_hash {
            return;
        }
        if self.is_behind(hash) {
            self.left_out = true;
            return;
        }
        // A set, since a scan may show an entry twice.
        self.found.insert(Placed { hash, entry });
        if self.found.len() > self.room {
            self.found.pop_last();
            self.left_out = true;
        }
    }

    /// Whether a full window ends before this hash.
    fn is_behind(&self, hash: u64) -> bool {
        let last = self.found.last().map_or(u64::MAX, |placed| placed.hash);
        self.found.len() >= self.room && hash > last
    }

    /// The entries with their positions, and whether none was left out. Names with
    /// the last hash may have been left out in part: then all of that hash are.
    fn finish(self) -> (Vec<(u64, RawEntry)>, bool) {
        let mut sorted: Vec<Placed> = self.found.into_iter().collect();
        if self.left_out
            && let Some(last) = sorted.last().map(|placed| placed.hash)
        {
            let whole = sorted.partition_point(|placed| placed.hash < last);
            sorted.truncate(whole);
        }
        let mut entries = Vec::with_capacity(sorted.len());
        let (mut last, mut rank) = (0, 0);
        for Placed { hash, entry } in sorted {
            rank = if hash == last { rank + 1 } else { 0 };
            last = hash;
            let position = hash << RANK_BITS | rank;
            if position >= self.from {
                entries.push((position, entry));
            }
        }
        (entries, !self.left_out)
    }
}

/// A name's hash: 46 bits, never 0. Fixed for ever, since cursors outlive clients.
/// (FNV-1a with a finaliser, so that similar names spread.)
fn hash(name: &[u8]) -> u64 {
    let mut value = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |value, &byte| {
        (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    value = (value ^ value >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    value = (value ^ value >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (value >> 18).max(1)
}

impl<E: Engine> Client<E> {
    /// A page of a listing. The first one also tells of the directory itself, and `attrs`
    /// brings what is known of the inodes, all in one trip.
    pub(super) async fn dir_page(
        &self,
        call: &Call,
        ino: Ino,
        from: Cursor,
        limit: usize,
        attrs: bool,
    ) -> Result<DirPage> {
        let terms = Self::listing_terms(call);
        let (page, end) = self
            .listings
            .page(&self.engine, terms, ino, from, limit)
            .await?;
        let (first, entries) = (from.0 == 0, page.iter().map(|(entry, _)| entry));
        let inos: Vec<Ino> = first
            .then_some(ino)
            .into_iter()
            .chain(entries.clone().filter(|_| attrs).map(|entry| entry.ino))
            .collect();
        let mut found = self.engine.nodes(terms, &inos).await?.into_iter();
        let dir = found.by_ref().take(usize::from(first)).next().flatten();
        if first && page.is_empty() {
            names::check_dir(dir.as_ref())?;
        }
        if attrs {
            self.engine.saw_entries(ino, &mut entries.clone());
        }
        let entry = |(entry, next): (RawEntry, Cursor)| DirEntry {
            name: entry.name,
            ino: entry.ino,
            kind: entry.kind,
            attr: found.next().flatten(),
            next,
        };
        Ok(DirPage {
            entries: page.into_iter().map(entry).collect(),
            end,
            dir,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use carafe_types::FileType;
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str) -> RawEntry {
        RawEntry {
            name: name.into(),
            ino: Ino(2),
            kind: FileType::File,
        }
    }

    fn window(names: &[String], from: u64, room: usize) -> Window {
        let mut gathering = Gathering::new(from, room);
        names
            .iter()
            .chain(names)
            .for_each(|name| gathering.add(entry(name)));
        let (entries, end) = gathering.finish();
        Window {
            dir: Ino(1),
            from,
            entries,
            end,
            made: Instant::now(),
        }
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(
            (hash(b""), hash(b"a"), hash(b"file-1")),
            (65_919_289_668_444, 35_908_784_372_283, 35_286_525_712_215)
        );
    }

    proptest! {
        /// However small pages and windows are, a listing shows each name once.
        #[test]
        fn a_listing_shows_each_name_once(names in prop::collection::btree_set("[a-z]{1,3}", 0..60), room in 4usize..40, limit in 1usize..9) {
            let names: Vec<String> = names.into_iter().collect();
            let (mut cursor, mut seen) = (0, BTreeSet::new());
            loop {
                let window = window(&names, cursor, room);
                let (page, end) = window.page(cursor, limit);
                for (entry, next) in page {
                    prop_assert!(next.0 > cursor && next.0 < 1 << 62);
                    cursor = next.0;
                    prop_assert!(seen.insert(entry.name), "shown twice");
                }
                if end {
                    break;
                }
            }
            prop_assert_eq!(seen.len(), names.len());
        }
    }
}
