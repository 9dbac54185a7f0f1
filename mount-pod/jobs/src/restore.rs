//! Putting trees together again from the trash, where each entry lies by itself under
//! `<directory>-<inode>-<name>`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use carafe_meta::{Admin, Call, Cursor};
use carafe_types::{Error, FileType, Ino, Result};
use futures_util::{StreamExt, stream};

/// Entries of a page.
const PAGE: usize = 1000;

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries of the trash that were looked at.
    pub found: u64,
    /// Entries that are back in their directories.
    pub restored: u64,
    /// Entries whose names are taken by something else.
    pub taken: u64,
    /// Entries whose directories are gone, or in the trash of an hour that was not named.
    pub homeless: u64,
    /// Entries that failed otherwise, with why; the first hundred.
    pub failed: Vec<(Vec<u8>, Error)>,
}

/// An entry of the trash.
struct Trashed {
    hour: Ino,
    entry: Vec<u8>,
    parent: Ino,
    ino: Ino,
    name: Vec<u8>,
    is_dir: bool,
}

impl Trashed {
    fn parse(hour: Ino, entry: Vec<u8>, kind: FileType) -> Option<Self> {
        let mut parts = entry.splitn(3, |byte| *byte == b'-');
        let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
        let (parent, ino) = (Ino(number()?), Ino(number()?));
        let name = parts.next().filter(|name| !name.is_empty())?.to_vec();
        Some(Self {
            hour,
            parent,
            ino,
            name,
            is_dir: kind == FileType::Directory,
            entry,
        })
    }
}

/// Restores the entries of hours of the trash (`2006-01-02-15`, UTC) into their
/// directories: into those that lie in the same hours' trash, so that trees are whole
/// there, and with `put_back` into all. Of entries with one name the newest is taken.
pub async fn restore(
    meta: &Arc<dyn Admin>,
    hours: &[String],
    put_back: bool,
    threads: usize,
) -> Result<Restored> {
    let call = Call::internal();
    let mut report = Restored::default();
    let mut entries = Vec::new();
    for hour in hours {
        let (ino, _) = meta.lookup(&call, Ino::TRASH, hour.as_bytes()).await?;
        list(meta, &call, ino, &mut entries).await?;
    }
    report.found = entries.len() as u64;
    let levels = levels(entries, put_back, &mut report);
    for level in levels {
        let moves = level.into_iter().map(|one| put(meta, &call, one, put_back));
        let mut moves = stream::iter(moves).buffer_unordered(threads.max(1));
        while let Some((one, outcome)) = moves.next().await {
            match outcome {
                Ok(()) => report.restored += 1,
                Err(Error::Exists) => report.taken += 1,
                Err(Error::NotFound) => report.homeless += 1,
                Err(error) if report.failed.len() < 100 => report.failed.push((one, error)),
                Err(_) => {}
            }
        }
    }
    Ok(report)
}

async fn put(
    meta: &Arc<dyn Admin>,
    call: &Call,
    one: Trashed,
    put_back: bool,
) -> (Vec<u8>, Result<()>) {
    let moved = meta.restore(call, one.hour, &one.entry, one.parent, &one.name, !put_back);
    (one.name.clone(), moved.await)
}

async fn list(
    meta: &Arc<dyn Admin>,
    call: &Call,
    hour: Ino,
    entries: &mut Vec<Trashed>,
) -> Result<()> {
    let mut cursor = Cursor(0);
    loop {
        let page = meta.readdir(call, hour, cursor, PAGE, false).await?;
        for entry in page.entries {
            cursor = entry.next;
            entries.extend(Trashed::parse(hour, entry.name, entry.kind));
        }
        if page.end {
            return Ok(());
        }
    }
}

/// The entries by depth, directories before what they hold; only the newest of a name.
fn levels(mut entries: Vec<Trashed>, put_back: bool, report: &mut Restored) -> Vec<Vec<Trashed>> {
    entries.sort_by_key(|one| std::cmp::Reverse(one.ino));
    let dirs: HashMap<Ino, Ino> = entries
        .iter()
        .filter(|one| one.is_dir)
        .map(|one| (one.ino, one.parent))
        .collect();
    let mut names = HashSet::new();
    let mut levels: Vec<Vec<Trashed>> = Vec::new();
    for one in entries {
        let mut depth = 0;
        let mut at = one.parent;
        while let Some(above) = dirs.get(&at)
            && depth < 4096
        {
            depth += 1;
            at = *above;
        }
        if depth == 0 && !put_back {
            continue;
        }
        if !names.insert((one.parent, one.name.clone())) {
            report.taken += 1;
            continue;
        }
        if levels.len() <= depth {
            levels.resize_with(depth + 1, Vec::new);
        }
        levels[depth].push(one);
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trashed(entry: &str, kind: FileType) -> Trashed {
        Trashed::parse(Ino(5), entry.as_bytes().to_vec(), kind).unwrap()
    }

    #[test]
    fn directories_come_before_what_they_hold_and_the_newest_wins() {
        let entries = || {
            vec![
                trashed("7-9-f", FileType::File),
                trashed("7-8-f", FileType::File),
                trashed("1-7-d-with-dash", FileType::Directory),
            ]
        };
        let mut report = Restored::default();
        let put_back = levels(entries(), true, &mut report);
        assert_eq!(report.taken, 1, "8 was there before 9");
        assert_eq!(put_back[0][0].name, b"d-with-dash");
        assert_eq!((put_back[1].len(), put_back[1][0].ino), (1, Ino(9)));
        let rebuilt = levels(entries(), false, &mut report);
        assert!(rebuilt[0].is_empty() && rebuilt[1].len() == 1);
        assert!(Trashed::parse(Ino(5), b"strange".to_vec(), FileType::File).is_none());
    }
}
