//! The database as a plan sees it: what was fetched; what is missing is noted,
//! fetched, and the plan runs again.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
};

use carafe_types::{Attr, Error, FileType, Ino, SessionId, Slice, SliceId};

use super::{
    item::{self, Guard, Item},
    rows,
    statement::{Cell, Row, Rows, Statement, values},
};
use crate::{
    DirStat, Quota, QuotaUsage, VolumeRecord,
    ops::{Counter, DelayedKey, Entry, FlockRow, PlockRow, Read, Reads, Stop, Want},
    sqlite::rows::delayed_slices,
};

/// What was fetched.
pub(super) type Known = HashMap<Item, Rows>;

/// What is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fetch {
    /// One thing.
    One(Item),
    /// An entry with its inode, and whether that has entries.
    Lookup(Ino, Vec<u8>, bool),
}

/// What one run of a plan sees and notes.
pub(super) struct View<'a> {
    known: &'a Known,
    used: RefCell<BTreeSet<(Guard, Item)>>,
    missing: RefCell<Vec<Fetch>>,
}

/// What a run noted.
pub(super) struct Notes {
    /// What was read, and how it is guarded.
    pub(super) guards: Vec<(Item, Guard)>,
    /// What must be fetched first.
    pub(super) missing: Vec<Fetch>,
}

impl Fetch {
    /// What finds it.
    pub(super) fn select(&self) -> Statement {
        match self {
            Self::One(item) => item.select(),
            Self::Lookup(parent, name, filled) => {
                let text = if *filled {
                    item::LOOKUP_DIR
                } else {
                    item::LOOKUP
                };
                Statement::new(text, values![*parent, name.clone()])
            }
        }
    }

    /// Puts what was found into what is known.
    pub(super) fn learn(self, rows: Rows, known: &mut Known) {
        match self {
            Self::One(item) => {
                known.insert(item, rows);
            }
            Self::Lookup(parent, name, _) => learn_entry(parent, name, rows, known),
        }
    }
}

fn learn_entry(parent: Ino, name: Vec<u8>, rows: Rows, known: &mut Known) {
    let entry = Item::Entry(parent, name);
    let Some(mut row) = rows.into_iter().next() else {
        known.insert(entry, Vec::new());
        return;
    };
    if let Some(Cell::Int(ino)) = row.get(1) {
        let ino = Ino(*ino as u64);
        let node = 3..3 + item::NODE_COLUMNS.len();
        if let Some(Cell::Int(filled)) = row.get(node.end) {
            let found = if *filled == 0 {
                Vec::new()
            } else {
                vec![vec![Cell::Int(1)]]
            };
            known.insert(Item::Filled(ino), found);
        }
        let is_there = row.get(2).is_some_and(|cell| *cell != Cell::Null);
        let found = if is_there {
            vec![row[node].to_vec()]
        } else {
            Vec::new()
        };
        known.insert(Item::Node(ino), found);
    }
    row.truncate(2);
    known.insert(entry, vec![row]);
}

impl<'a> View<'a> {
    /// A view of what is known.
    pub(super) fn new(known: &'a Known) -> Self {
        Self {
            known,
            used: RefCell::default(),
            missing: RefCell::default(),
        }
    }

    /// What the run noted; guards in the order in which they lock.
    pub(super) fn into_notes(self) -> Notes {
        let mut guards: Vec<_> = self.used.into_inner().into_iter().collect();
        guards.sort_by(|(guard, item), (other_guard, other)| {
            (item, guard).cmp(&(other, other_guard))
        });
        Notes {
            guards: guards
                .into_iter()
                .map(|(guard, item)| (item, guard))
                .collect(),
            missing: self.missing.into_inner(),
        }
    }

    fn get(&self, item: Item, guard: Option<Guard>) -> Read<&'a Rows> {
        let Some(rows) = self.known.get(&item) else {
            self.note(Fetch::One(item));
            return Err(Stop::Missing);
        };
        if let Some(guard) = guard {
            self.used.borrow_mut().insert((guard, item));
        }
        Ok(rows)
    }

    fn whole(&self, item: Item) -> Read<&'a Rows> {
        self.get(item, Some(Guard::Whole))
    }

    fn one(&self, item: Item) -> Read<Option<&'a Row>> {
        self.whole(item).map(|rows| rows.first())
    }

    fn note(&self, fetch: Fetch) {
        let mut missing = self.missing.borrow_mut();
        if !missing.contains(&fetch) {
            missing.push(fetch);
        }
    }

    fn want(&self, want: &Want) {
        match want {
            Want::Node(ino) => self.want_item(Item::Node(*ino)),
            Want::Chunk(ino, index) => self.want_item(Item::Chunk(*ino, *index)),
            Want::Slice(id, size) => self.want_item(Item::Refs(*id, *size)),
            Want::EntryNode(parent, name) => self.want_entry(*parent, name, false),
            Want::EntryDir(parent, name) => self.want_entry(*parent, name, true),
        }
    }

    fn want_item(&self, item: Item) {
        if !self.known.contains_key(&item) {
            self.note(Fetch::One(item));
        }
    }

    fn want_entry(&self, parent: Ino, name: &[u8], filled: bool) {
        let Some(found) = self.known.get(&Item::Entry(parent, name.to_vec())) else {
            self.note(Fetch::Lookup(parent, name.to_vec(), filled));
            return;
        };
        if let Some(Ok(entry)) = found.first().map(entry) {
            self.want_item(Item::Node(entry.ino));
            if filled && entry.kind == FileType::Directory {
                self.want_item(Item::Filled(entry.ino));
            }
        }
    }

    fn attr(&self, ino: Ino, guard: Option<Guard>) -> Read<Option<Attr>> {
        let rows = self.get(Item::Node(ino), guard)?;
        Ok(rows.first().map(rows::attr).transpose()?)
    }

    /// Locks change only under the lock of their inode, also for the peer.
    fn lock(&self, ino: Ino) {
        self.used
            .borrow_mut()
            .insert((Guard::Lock, Item::Node(ino)));
    }

    fn slices(&self, ino: Ino, index: u32, item: Item) -> Read<Vec<Slice>> {
        let row = self.one(item)?;
        let list = row.map(|row| rows::bytes(row, 0)).transpose()?;
        Slice::decode_list(list.unwrap_or_default())
            .map_err(|error| Error::Io(format!("inode {ino}, chunk {index}: {error}")).into())
    }
}

fn entry(row: &Row) -> carafe_types::Result<Entry> {
    Ok(Entry {
        kind: rows::kind(row, 0)?,
        ino: Ino(rows::unsigned(row, 1)?),
    })
}

/// A volume's record.
pub(super) fn volume(row: &Row) -> carafe_types::Result<VolumeRecord> {
    serde_json::from_slice(rows::bytes(row, 0)?)
        .map_err(|error| Error::Io(format!("a volume's record is damaged: {error}")))
}

/// Each row's value.
fn all<T>(rows: &Rows, map: impl Fn(&Row) -> carafe_types::Result<T>) -> Read<Vec<T>> {
    Ok(rows.iter().map(map).collect::<carafe_types::Result<_>>()?)
}

impl Reads for View<'_> {
    fn prefetch(&self, wants: &[Want]) -> Read<()> {
        for want in wants {
            self.want(want);
        }
        if self.missing.borrow().is_empty() {
            Ok(())
        } else {
            Err(Stop::Missing)
        }
    }

    fn setting(&self) -> Read<Option<String>> {
        let row = self.one(Item::Setting)?;
        Ok(row.map(|row| rows::text(row, 0)).transpose()?)
    }

    fn node(&self, ino: Ino) -> Read<Option<Attr>> {
        self.attr(ino, Some(Guard::Whole))
    }

    fn dir(&self, ino: Ino) -> Read<Option<Attr>> {
        self.attr(ino, Some(Guard::Shape))
    }

    fn parent(&self, ino: Ino) -> Read<Option<Ino>> {
        Ok(self.attr(ino, None)?.map(|attr| attr.parent))
    }

    fn entry(&self, parent: Ino, name: &[u8]) -> Read<Option<Entry>> {
        let row = self.one(Item::Entry(parent, name.to_vec()))?;
        Ok(row.map(entry).transpose()?)
    }

    fn has_entries(&self, ino: Ino) -> Read<bool> {
        Ok(!self.whole(Item::Filled(ino))?.is_empty())
    }

    fn parents(&self, ino: Ino) -> Read<Vec<(Ino, i64)>> {
        all(self.whole(Item::Parents(ino))?, |row| {
            Ok((Ino(rows::unsigned(row, 0)?), rows::int(row, 1)?))
        })
    }

    fn symlink(&self, ino: Ino) -> Read<Option<Vec<u8>>> {
        let row = self.one(Item::Symlink(ino))?;
        Ok(row
            .map(|row| rows::bytes(row, 0).map(<[u8]>::to_vec))
            .transpose()?)
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Read<Option<Vec<u8>>> {
        let row = self.one(Item::Xattr(ino, name.to_vec()))?;
        Ok(row
            .map(|row| rows::bytes(row, 0).map(<[u8]>::to_vec))
            .transpose()?)
    }

    fn xattr_names(&self, ino: Ino) -> Read<Vec<Vec<u8>>> {
        all(self.whole(Item::XattrNames(ino))?, |row| {
            rows::bytes(row, 0).map(<[u8]>::to_vec)
        })
    }

    fn chunk(&self, ino: Ino, index: u32) -> Read<Vec<Slice>> {
        self.slices(ino, index, Item::Chunk(ino, index))
    }

    fn chunk_front(&self, ino: Ino, index: u32, count: usize) -> Read<Vec<Slice>> {
        self.slices(ino, index, Item::Front(ino, index, count))
    }

    fn flocks(&self, ino: Ino) -> Read<Vec<FlockRow>> {
        self.lock(ino);
        all(self.whole(Item::Flocks(ino))?, |row| {
            Ok(FlockRow {
                session: SessionId(rows::unsigned(row, 0)?),
                owner: rows::unsigned(row, 1)?,
                write: rows::int(row, 2)? == i64::from(b'W'),
            })
        })
    }

    fn plocks(&self, ino: Ino) -> Read<Vec<PlockRow>> {
        self.lock(ino);
        all(self.whole(Item::Plocks(ino))?, |row| {
            Ok(PlockRow {
                session: SessionId(rows::unsigned(row, 0)?),
                owner: rows::unsigned(row, 1)?,
                records: rows::bytes(row, 2)?.to_vec(),
            })
        })
    }

    fn counter(&self, counter: Counter) -> Read<i64> {
        let row = self.one(Item::counter(counter))?;
        Ok(row.map_or(Ok(0), |row| rows::int(row, 0))?)
    }

    fn quota(&self, ino: Ino) -> Read<Option<QuotaUsage>> {
        let Some(row) = self.one(Item::Quota(ino))? else {
            return Ok(None);
        };
        let limit = |at| rows::int(row, at).map(|value| value.max(0) as u64);
        Ok(Some(QuotaUsage {
            quota: Quota {
                max_bytes: limit(0)?,
                max_inodes: limit(1)?,
            },
            used_bytes: rows::int(row, 2)?,
            used_inodes: rows::int(row, 3)?,
        }))
    }

    fn has_dir_stat(&self, dir: Ino) -> Read<bool> {
        Ok(self.one(Item::DirStat(dir))?.is_some())
    }

    fn dir_stat(&self, dir: Ino) -> Read<Option<DirStat>> {
        let row = self.get(Item::DirStat(dir), None)?.first();
        let stat = |row: &Row| -> carafe_types::Result<DirStat> {
            Ok(DirStat {
                length: rows::int(row, 0)?,
                space: rows::int(row, 1)?,
                inodes: rows::int(row, 2)?,
            })
        };
        Ok(row.map(stat).transpose()?)
    }

    fn delayed(&self, key: DelayedKey) -> Read<Option<Vec<(SliceId, u32)>>> {
        let row = self.one(Item::Delayed(key.id, key.time))?;
        let list = row.map(|row| rows::bytes(row, 0)).transpose()?;
        Ok(list.map(delayed_slices))
    }

    fn has_session(&self, session: SessionId) -> Read<bool> {
        Ok(self.one(Item::Session(session))?.is_some())
    }

    fn slice_refs(&self, id: SliceId, size: u32) -> Read<i64> {
        let row = self.one(Item::Refs(id, size))?;
        Ok(row.map_or(Ok(0), |row| rows::int(row, 0))?)
    }

    fn volume(&self, id: &str) -> Read<Option<VolumeRecord>> {
        Ok(self
            .one(Item::Volume(id.to_owned()))?
            .map(volume)
            .transpose()?)
    }

    fn volumes_at(&self, path: &str) -> Read<Vec<VolumeRecord>> {
        all(self.whole(Item::VolumesAt(path.to_owned()))?, volume)
    }
}
