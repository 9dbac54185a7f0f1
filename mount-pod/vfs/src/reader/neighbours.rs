//! Read-ahead from one small file to the next: whoever opens the files of a directory in
//! the order of its listing goes on with those that follow.
//!
//! The files that a listing shows are kept as a **row**. An open **follows** the row when
//! it is of the file that stands next in it, or soon after. After a few such opens in turn,
//! the slices and blocks of the files that stand next are fetched, so many ahead of the
//! reader; an open elsewhere in the row ends that.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use carafe_chunk::Prefetch;
use carafe_meta::DirEntry;
use carafe_types::{FileType, Ino};
use parking_lot::Mutex;

/// Rows that are kept.
const ROWS: usize = 4;
/// Files of one row; what a listing shows beyond has no neighbours.
const LONGEST: usize = 4096;
/// Bytes of a file that is small: longer ones have a read-ahead of their own.
const SMALL: u64 = 1 << 20;
/// How many files an open may leave out and still follow.
const SLACK: usize = 4;
/// Opens in turn that make a reader.
const ENOUGH: u32 = 2;
/// How many files are fetched ahead of the reader.
const AHEAD: usize = 16;
/// How long somebody who has read a directory so is thought to go on with another.
const WALKING: Duration = Duration::from_secs(1);

/// The rows of the directories that were listed last.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    inner: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    rows: VecDeque<Row>,
    /// When a row was last followed for long enough.
    followed: Option<Instant>,
}

/// A file with its length.
pub(super) type Small = (Ino, u64);

/// The files of one directory, and how far they are read.
#[derive(Debug, Default)]
struct Row {
    dir: Ino,
    files: Vec<Small>,
    /// Where the reader is expected next.
    next: usize,
    follows: u32,
    /// What was asked for ends here.
    until: usize,
    under_way: VecDeque<(usize, Prefetch)>,
}

impl Row {
    /// A file is opened: the places of those that are to be fetched now.
    fn follow(&mut self, ino: Ino) -> std::ops::Range<usize> {
        let is_it = |&(other, _): &Small| other == ino;
        let near = self.files.iter().skip(self.next).take(SLACK);
        let ahead = near.clone().position(is_it).map(|steps| self.next + steps);
        let Some(at) = ahead.or_else(|| self.files.iter().position(is_it)) else {
            return 0..0;
        };
        if ahead.is_some() {
            self.follows += 1;
        } else {
            (self.follows, self.until) = (0, 0);
            self.under_way.clear();
        }
        self.next = at + 1;
        self.under_way.retain(|(place, _)| *place >= at);
        let start = self.until.max(self.next);
        // In pieces, so that a trip to the engine is for several.
        let is_due = self.follows >= ENOUGH && start <= self.next + AHEAD / 2;
        let end = (self.next + AHEAD).min(self.files.len());
        if !is_due || start >= end {
            return 0..0;
        }
        self.until = end;
        start..end
    }
}

impl Neighbours {
    /// A page of a listing, the first one or one that goes on.
    pub(crate) fn saw(&self, dir: Ino, first: bool, entries: &[DirEntry]) {
        let small = |entry: &DirEntry| {
            let attr = entry.attr.as_ref()?;
            let is_small = attr.kind == FileType::File && (1..=SMALL).contains(&attr.length);
            is_small.then_some((entry.ino, attr.length))
        };
        let mut inner = self.inner.lock();
        let walks = inner.followed.is_some_and(|at| at.elapsed() < WALKING);
        let Rows { rows, .. } = &mut *inner;
        if first {
            rows.retain(|row| row.dir != dir);
            rows.truncate(ROWS - 1);
            rows.push_front(Row {
                dir,
                follows: u32::from(walks),
                ..Row::default()
            });
        }
        if let Some(row) = rows.iter_mut().find(|row| row.dir == dir) {
            let room = LONGEST.saturating_sub(row.files.len());
            row.files
                .extend(entries.iter().filter_map(small).take(room));
        }
    }

    /// A file of a directory is opened for reading: those that are to be fetched now,
    /// with their places.
    pub(super) fn opened(&self, dir: Ino, ino: Ino) -> Vec<(usize, Small)> {
        let mut inner = self.inner.lock();
        let Some(row) = inner.rows.iter_mut().find(|row| row.dir == dir) else {
            return Vec::new();
        };
        let next = row.follow(ino);
        let files = next.map(|place| (place, row.files[place])).collect();
        if row.follows >= ENOUGH {
            inner.followed = Some(Instant::now());
        }
        files
    }

    /// Holds on to what is on its way.
    pub(super) fn keep(&self, dir: Ino, place: usize, prefetch: Prefetch) {
        let mut inner = self.inner.lock();
        let row = inner.rows.iter_mut().find(|row| row.dir == dir);
        // One that the reader has passed or jumped away from is of no more use.
        if let Some(row) = row.filter(|row| (row.next..row.until).contains(&place)) {
            row.under_way.push_back((place, prefetch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(files: u64) -> Row {
        Row {
            dir: Ino(1),
            files: (0..files).map(|number| (Ino(100 + number), 1)).collect(),
            ..Row::default()
        }
    }

    #[test]
    fn who_follows_the_row_gets_what_is_next() {
        let mut row = row(100);
        assert_eq!(row.follow(Ino(100)), 0..0, "one open makes no reader");
        assert_eq!(row.follow(Ino(101)), 2..18);
        assert_eq!(row.follow(Ino(102)), 0..0, "enough is on its way");
        let fetched = (103..200).map(|ino| row.follow(Ino(ino)).len());
        assert_eq!(16 + fetched.sum::<usize>(), 98, "each file once");
    }

    #[test]
    fn a_file_may_be_left_out() {
        let mut row = row(100);
        row.follow(Ino(100));
        assert_eq!(row.follow(Ino(103)), 4..20);
    }

    #[test]
    fn a_jump_ends_it() {
        let mut row = row(100);
        row.follow(Ino(100));
        row.follow(Ino(101));
        assert_eq!(row.follow(Ino(150)), 0..0, "that is elsewhere");
        assert_eq!(row.follow(Ino(151)), 0..0);
        assert_eq!(row.follow(Ino(152)), 53..69, "and a reader again");
        assert_eq!(row.follow(Ino(7)), 0..0, "no file of the row");
    }
}
