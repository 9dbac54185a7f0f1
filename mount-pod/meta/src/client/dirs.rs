//! What is known of directories, for those who are content with attributes of a moment
//! ago.
//!
//! After each change in a directory the kernel asks for its attributes again, although
//! its maker could tell them: they are those that the engine last told, with what this
//! client changed since. They are as old as that answer, and serve for as long as the
//! mount trusts attributes.
//!
//! A change is **under way** from before the engine gets it until its answer was taken.
//! An answer of the engine that was asked for before a change ended may or may not count
//! it, and is not kept; nor is one that comes while a change is under way. What is not
//! known to be done, or done by other ways than these, makes the directory unknown.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use carafe_types::{Attr, Ino, Timestamp};
use parking_lot::Mutex;

use crate::ops::Mutation;

/// Directories that are known at a time.
const MOST: usize = 4096;

/// When the engine was asked: the number of changes that had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked(u64);

/// The directories.
#[derive(Debug, Default)]
pub(super) struct Dirs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Changes that ended.
    ended: u64,
    /// Of directories that are not here, some change may have ended up to this one.
    floor: u64,
    dirs: HashMap<Ino, Dir>,
}

#[derive(Debug, Default)]
struct Dir {
    /// The attributes, and when the engine was asked for those that they follow from.
    attr: Option<(Attr, Instant)>,
    under_way: u32,
    /// The last change that ended.
    ended: u64,
}

impl Dirs {
    /// To be called before the engine is asked.
    pub(super) fn asked(&self) -> (Asked, Instant) {
        (Asked(self.state.lock().ended), Instant::now())
    }

    /// The engine told an inode's attributes.
    pub(super) fn told(&self, ino: Ino, attr: &Attr, (asked, at): (Asked, Instant)) {
        if !attr.is_dir() {
            return;
        }
        let mut state = self.state.lock();
        let dir = state.dir(ino);
        if dir.under_way == 0 && dir.ended <= asked.0 {
            dir.attr = Some((attr.clone(), at));
        }
    }

    /// A directory's attributes that are not older than `trust`, and their age.
    pub(super) fn recall(&self, ino: Ino, trust: Duration) -> Option<(Attr, Duration)> {
        let state = self.state.lock();
        let (attr, at) = state.dirs.get(&ino)?.attr.as_ref()?;
        let age = at.elapsed();
        (age < trust).then(|| (attr.clone(), age))
    }

    /// A change in these directories begins.
    pub(super) fn change(&self, dirs: &[Ino]) -> Change<'_> {
        let mut state = self.state.lock();
        for ino in dirs {
            state.dir(*ino).under_way += 1;
        }
        Change {
            known: self,
            dirs: dirs.to_vec(),
        }
    }

    /// Nothing is known any more.
    pub(super) fn forget_all(&self) {
        let mut state = self.state.lock();
        state.ended += 1;
        state.floor = state.ended;
        let ended = state.ended;
        state.dirs.retain(|_, dir| dir.under_way > 0);
        for dir in state.dirs.values_mut() {
            (dir.attr, dir.ended) = (None, ended);
        }
    }

    /// These mutations were made, perhaps by a change of [`Dirs::change`].
    pub(super) fn changed(&self, mutations: &[Mutation]) {
        let mut state = self.state.lock();
        for mutation in mutations {
            match mutation {
                Mutation::TouchDir { ino, nlink, time } => state.touch(*ino, *nlink, *time),
                Mutation::SetNode { ino, attr } if attr.is_dir() => state.forget(*ino),
                // Of a directory that is gone nobody asks for long.
                Mutation::DropNode { ino } if state.dirs.contains_key(ino) => {
                    state.forget(*ino);
                }
                _ => {}
            }
        }
    }
}

impl State {
    /// By a change that is under way: what is known goes on from there. By others, the
    /// directory is not known any more.
    fn touch(&mut self, ino: Ino, nlink: i32, time: Timestamp) {
        match self.dirs.get_mut(&ino) {
            Some(dir) if dir.under_way > 0 => {
                if let Some((attr, _)) = &mut dir.attr {
                    attr.nlink = attr.nlink.saturating_add_signed(nlink);
                    (attr.mtime, attr.ctime) = (time, time);
                }
            }
            _ => self.forget(ino),
        }
    }

    fn forget(&mut self, ino: Ino) {
        self.ended += 1;
        let ended = self.ended;
        match self.dirs.get_mut(&ino) {
            Some(dir) => (dir.attr, dir.ended) = (None, ended),
            None => self.floor = ended,
        }
    }

    /// A directory; of one that is not here nothing is known. Whoever needs one makes
    /// room for it, so that changes alone fill it no more than answers do.
    fn dir(&mut self, ino: Ino) -> &mut Dir {
        if self.dirs.len() >= MOST {
            self.floor = self.ended;
            self.dirs.retain(|_, dir| dir.under_way > 0);
        }
        let ended = self.floor;
        self.dirs.entry(ino).or_insert(Dir {
            ended,
            ..Dir::default()
        })
    }
}

/// A change under way. Dropped before [`Change::done`], nobody knows whether it was made.
#[derive(Debug)]
pub(super) struct Change<'a> {
    known: &'a Dirs,
    dirs: Vec<Ino>,
}

impl Change<'_> {
    /// The engine answered, and [`Dirs::changed`] knows what it did.
    pub(super) fn done(mut self) {
        self.end(true);
    }

    fn end(&mut self, known: bool) {
        let mut state = self.known.state.lock();
        for ino in std::mem::take(&mut self.dirs) {
            state.ended += 1;
            let ended = state.ended;
            if let Some(dir) = state.dirs.get_mut(&ino) {
                dir.under_way -= 1;
                dir.ended = ended;
                dir.attr = dir.attr.take().filter(|_| known);
            }
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.end(false);
    }
}

#[cfg(test)]
mod tests {
    use carafe_types::FileType;

    use super::*;

    const DIR: Ino = Ino(7);
    const TRUST: Duration = Duration::from_hours(1);

    fn attr(nlink: u32) -> Attr {
        Attr {
            kind: FileType::Directory,
            nlink,
            ..Attr::default()
        }
    }

    fn touch(nlink: i32, secs: i64) -> [Mutation; 1] {
        let time = Timestamp { secs, nanos: 0 };
        [Mutation::TouchDir {
            ino: DIR,
            nlink,
            time,
        }]
    }

    fn links(dirs: &Dirs) -> Option<u32> {
        dirs.recall(DIR, TRUST).map(|(attr, _)| attr.nlink)
    }

    fn knowing(nlink: u32) -> Dirs {
        let dirs = Dirs::default();
        dirs.told(DIR, &attr(nlink), dirs.asked());
        dirs
    }

    #[test]
    fn what_was_told_and_changed_since_is_known() {
        let dirs = knowing(2);
        let change = dirs.change(&[DIR]);
        dirs.changed(&touch(1, 9));
        change.done();
        let (attr, _) = dirs.recall(DIR, TRUST).unwrap();
        assert_eq!((attr.nlink, attr.mtime.secs, attr.ctime.secs), (3, 9, 9));
        assert_eq!(dirs.recall(DIR, Duration::ZERO), None, "older than that");
    }

    #[test]
    fn an_answer_that_may_be_older_than_a_change_is_not_kept() {
        let dirs = knowing(2);
        let before = dirs.asked();
        let change = dirs.change(&[DIR]);
        let meanwhile = dirs.asked();
        dirs.told(DIR, &attr(50), before);
        assert_eq!(links(&dirs), Some(2), "while the change is under way");
        dirs.changed(&touch(1, 9));
        change.done();
        for asked in [before, meanwhile] {
            dirs.told(DIR, &attr(50), asked);
            assert_eq!(links(&dirs), Some(3), "asked for before the change ended");
        }
        dirs.told(DIR, &attr(50), dirs.asked());
        assert_eq!(links(&dirs), Some(50));
    }

    #[test]
    fn changes_at_once_are_all_counted() {
        let dirs = knowing(2);
        let changes = [dirs.change(&[DIR]), dirs.change(&[DIR])];
        dirs.changed(&touch(1, 9));
        dirs.changed(&touch(1, 8));
        changes.into_iter().for_each(Change::done);
        assert_eq!(links(&dirs), Some(4));
    }

    #[test]
    fn what_is_not_known_to_be_done_makes_the_directory_unknown() {
        let dirs = knowing(2);
        drop(dirs.change(&[DIR]));
        assert_eq!(links(&dirs), None, "an error, or nobody waited");
        let dirs = knowing(2);
        let (before, change) = (dirs.asked(), dirs.change(&[DIR]));
        dirs.forget_all();
        change.done();
        dirs.told(DIR, &attr(50), before);
        assert_eq!(links(&dirs), None, "an answer of before");
        for mutations in [
            touch(1, 9),
            [Mutation::SetNode {
                ino: DIR,
                attr: attr(2),
            }],
            [Mutation::DropNode { ino: DIR }],
        ] {
            let dirs = knowing(2);
            let before = dirs.asked();
            dirs.changed(&mutations);
            assert_eq!(links(&dirs), None, "{mutations:?} by other ways");
            dirs.told(DIR, &attr(50), before);
            assert_eq!(links(&dirs), None, "asked for before it");
        }
    }

    #[test]
    fn room_is_bounded_and_nothing_old_is_taken_for_new() {
        let dirs = Dirs::default();
        let before = dirs.asked();
        dirs.change(&[DIR]).done();
        for number in 0..2 * MOST as u64 {
            dirs.told(Ino(1000 + number), &attr(2), dirs.asked());
        }
        assert!(dirs.state.lock().dirs.len() <= MOST);
        for number in 0..2 * MOST as u64 {
            dirs.change(&[Ino(1000 + number)]).done();
        }
        assert!(dirs.state.lock().dirs.len() <= MOST, "by changes alone");
        dirs.told(DIR, &attr(50), before);
        assert_eq!(links(&dirs), None, "its change was forgotten, not undone");
    }
}
