//! The database as a plan sees it: what was fetched, and guesses; what is missing
//! is noted, fetched, and the plan runs again.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use carafe_types::{Attr, Error, Ino, SessionId, Slice, SliceId};

use super::{
    keys::{self, Key},
    raw::{Guard, Item, Raw},
};
use crate::{
    DirStat, Quota, QuotaUsage, VolumeRecord,
    guesses::Guesses,
    ops::{Counter, DelayedKey, Entry, FlockRow, PlockRow, Read, Reads, Stop, Want},
    sqlite::rows::delayed_slices,
};

/// What is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fetch {
    /// One thing.
    One(Item),
    /// An entry with its inode.
    Lookup(Ino, Vec<u8>),
}

/// What one run of a plan sees and notes.
pub(super) struct View<'a> {
    known: &'a HashMap<Item, Raw>,
    guesses: Option<&'a Guesses<Item, Raw>>,
    guessed: RefCell<HashMap<Item, Raw>>,
    used: RefCell<Vec<(Item, Guard)>>,
    missing: RefCell<Vec<Fetch>>,
    relied: Cell<bool>,
}

/// What a run noted.
pub(super) struct Notes {
    /// What was read, how it is guarded, and what it was.
    pub(super) guards: Vec<(Item, Guard, Raw)>,
    /// What must be fetched first.
    pub(super) missing: Vec<Fetch>,
    /// Whether anything was a guess.
    pub(super) relied: bool,
}

impl<'a> View<'a> {
    /// A view of what is known, and of guesses if there are any.
    pub(super) fn new(
        known: &'a HashMap<Item, Raw>,
        guesses: Option<&'a Guesses<Item, Raw>>,
    ) -> Self {
        Self {
            known,
            guesses,
            guessed: RefCell::default(),
            used: RefCell::default(),
            missing: RefCell::default(),
            relied: Cell::new(false),
        }
    }

    /// What the run noted.
    pub(super) fn into_notes(self) -> Notes {
        let guessed = self.guessed.into_inner();
        let guard = |(item, guard): (Item, Guard)| {
            let raw = self
                .known
                .get(&item)
                .or_else(|| guessed.get(&item))?
                .clone();
            Some((item, guard, raw))
        };
        let guards = self
            .used
            .into_inner()
            .into_iter()
            .filter_map(guard)
            .collect();
        Notes {
            guards,
            missing: self.missing.into_inner(),
            relied: self.relied.get(),
        }
    }

    fn find(&self, item: &Item) -> Option<Raw> {
        if let Some(raw) = self.known.get(item) {
            return Some(raw.clone());
        }
        if let Some(raw) = self.guessed.borrow().get(item) {
            return Some(raw.clone());
        }
        let guessed = self.guesses?.get(item);
        // Who removes a directory expects it to be empty.
        let raw = guessed.or_else(|| matches!(item, Item::Filled(_)).then_some(Raw::Count(0)))?;
        self.relied.set(true);
        self.guessed.borrow_mut().insert(item.clone(), raw.clone());
        Some(raw)
    }

    fn get(&self, item: Item, guard: Guard) -> Read<Raw> {
        let Some(raw) = self.find(&item) else {
            self.note(Fetch::One(item));
            return Err(Stop::Missing);
        };
        if guard > Guard::None {
            let mut used = self.used.borrow_mut();
            match used.iter_mut().find(|(known, _)| *known == item) {
                Some((_, strength)) => *strength = guard.max(*strength),
                None => used.push((item, guard)),
            }
        }
        Ok(raw)
    }

    fn note(&self, fetch: Fetch) {
        let mut missing = self.missing.borrow_mut();
        if !missing.contains(&fetch) {
            missing.push(fetch);
        }
    }

    fn want(&self, want: &Want) {
        match want {
            Want::Node(ino) => self.want_item(Item::Text(keys::node(*ino))),
            Want::Chunk(ino, index) => self.want_item(Item::List(keys::chunk(*ino, *index))),
            Want::Slice(id, size) => {
                self.want_item(Item::Field(
                    keys::SLICE_REFS.into(),
                    keys::slice(*id, *size),
                ));
            }
            Want::EntryNode(parent, name) => self.want_entry(*parent, name, false),
            Want::EntryDir(parent, name) => self.want_entry(*parent, name, true),
        }
    }

    fn want_item(&self, item: Item) {
        if self.find(&item).is_none() {
            self.note(Fetch::One(item));
        }
    }

    fn want_entry(&self, parent: Ino, name: &[u8], filled: bool) {
        let Some(raw) = self.find(&Item::Field(keys::dir(parent), name.to_vec())) else {
            self.note(Fetch::Lookup(parent, name.to_vec()));
            return;
        };
        if let Some(entry) = raw.bytes().and_then(keys::parse_entry) {
            self.want_item(Item::Text(keys::node(entry.ino)));
            if filled && entry.kind == carafe_types::FileType::Directory {
                self.want_item(Item::Filled(keys::dir(entry.ino)));
            }
        }
    }

    fn text(&self, key: Key, guard: Guard) -> Read<Option<Vec<u8>>> {
        Ok(self
            .get(Item::Text(key), guard)?
            .bytes()
            .map(<[u8]>::to_vec))
    }

    fn field(&self, key: impl Into<Key>, field: Key, guard: Guard) -> Read<Option<Vec<u8>>> {
        Ok(self
            .get(Item::Field(key.into(), field), guard)?
            .bytes()
            .map(<[u8]>::to_vec))
    }

    fn slices(&self, item: Item) -> Read<Vec<Slice>> {
        let key = String::from_utf8_lossy(item.key()).into_owned();
        let list = self.get(item, Guard::Whole)?.parts().concat();
        Slice::decode_list(&list).map_err(|error| Error::Io(format!("{key}: {error}")).into())
    }

    fn attr(&self, ino: Ino, guard: Guard) -> Read<Option<Attr>> {
        let Some(bytes) = self.text(keys::node(ino), guard)? else {
            return Ok(None);
        };
        let damaged = || Error::Io(format!("inode {ino}: its attributes are damaged"));
        Ok(Some(Attr::decode(&bytes).ok_or_else(damaged)?))
    }
}

fn damaged(what: &str) -> Stop {
    Error::Io(format!("{what} is damaged")).into()
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
        let text = self.text(keys::SETTING.into(), Guard::Whole)?;
        text.map(|text| String::from_utf8(text).map_err(|_| damaged("the setting")))
            .transpose()
    }

    fn node(&self, ino: Ino) -> Read<Option<Attr>> {
        self.attr(ino, Guard::Whole)
    }

    fn dir(&self, ino: Ino) -> Read<Option<Attr>> {
        self.attr(ino, Guard::Shape)
    }

    fn parent(&self, ino: Ino) -> Read<Option<Ino>> {
        Ok(self.attr(ino, Guard::None)?.map(|attr| attr.parent))
    }

    fn entry(&self, parent: Ino, name: &[u8]) -> Read<Option<Entry>> {
        let value = self.field(keys::dir(parent), name.to_vec(), Guard::Whole)?;
        value
            .map(|value| keys::parse_entry(&value).ok_or_else(|| damaged("an entry")))
            .transpose()
    }

    fn has_entries(&self, ino: Ino) -> Read<bool> {
        Ok(self.get(Item::Filled(keys::dir(ino)), Guard::Whole)? != Raw::Count(0))
    }

    fn parents(&self, ino: Ino) -> Read<Vec<(Ino, i64)>> {
        let raw = self.get(Item::Hash(keys::parents(ino)), Guard::Whole)?;
        let pair = |(parent, count)| Some((Ino(keys::number(parent)?), keys::number(count)?));
        Ok(raw
            .pairs()
            .filter_map(pair)
            .filter(|(_, count)| *count > 0)
            .collect())
    }

    fn symlink(&self, ino: Ino) -> Read<Option<Vec<u8>>> {
        self.text(keys::symlink(ino), Guard::Whole)
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Read<Option<Vec<u8>>> {
        self.field(keys::xattrs(ino), name.to_vec(), Guard::Whole)
    }

    fn xattr_names(&self, ino: Ino) -> Read<Vec<Vec<u8>>> {
        Ok(self
            .get(Item::Fields(keys::xattrs(ino)), Guard::Whole)?
            .parts()
            .to_vec())
    }

    fn chunk(&self, ino: Ino, index: u32) -> Read<Vec<Slice>> {
        self.slices(Item::List(keys::chunk(ino, index)))
    }

    fn chunk_front(&self, ino: Ino, index: u32, count: usize) -> Read<Vec<Slice>> {
        self.slices(Item::Front(keys::chunk(ino, index), count))
    }

    fn flocks(&self, ino: Ino) -> Read<Vec<FlockRow>> {
        let raw = self.get(Item::Hash(keys::flocks(ino)), Guard::Whole)?;
        let row = |(field, kind): (&[u8], &[u8])| {
            let (session, owner) = keys::parse_owner(field)?;
            Some(FlockRow {
                session,
                owner,
                write: kind == b"W",
            })
        };
        Ok(raw.pairs().filter_map(row).collect())
    }

    fn plocks(&self, ino: Ino) -> Read<Vec<PlockRow>> {
        let raw = self.get(Item::Hash(keys::plocks(ino)), Guard::Whole)?;
        let row = |(field, records): (&[u8], &[u8])| {
            let (session, owner) = keys::parse_owner(field)?;
            Some(PlockRow {
                session,
                owner,
                records: records.to_vec(),
            })
        };
        Ok(raw.pairs().filter_map(row).collect())
    }

    fn counter(&self, counter: Counter) -> Read<i64> {
        let value = self.text(keys::counter(counter), Guard::Whole)?;
        Ok(value.and_then(|value| keys::number(&value)).unwrap_or(0))
    }

    fn quota(&self, ino: Ino) -> Read<Option<QuotaUsage>> {
        let field = || ino.to_string().into_bytes();
        let items = [keys::QUOTA, keys::QUOTA_SPACE, keys::QUOTA_INODES]
            .map(|key| Item::Field(key.into(), field()));
        for item in items {
            self.want_item(item);
        }
        let limits = self.field(keys::QUOTA, field(), Guard::Whole)?;
        let used = |key: &str| -> Read<i64> {
            let value = self.field(key, field(), Guard::None)?;
            Ok(value.and_then(|value| keys::number(&value)).unwrap_or(0))
        };
        let Some(limits) = limits else {
            return Ok(None);
        };
        let ([bytes, inodes], []) = limits.as_chunks::<8>() else {
            return Err(damaged("a quota"));
        };
        let limit = |bytes: &[u8; 8]| i64::from_be_bytes(*bytes).max(0) as u64;
        Ok(Some(QuotaUsage {
            quota: Quota {
                max_bytes: limit(bytes),
                max_inodes: limit(inodes),
            },
            used_bytes: used(keys::QUOTA_SPACE)?,
            used_inodes: used(keys::QUOTA_INODES)?,
        }))
    }

    fn has_dir_stat(&self, dir: Ino) -> Read<bool> {
        Ok(self
            .field(keys::DIR_SPACE, dir.to_string().into_bytes(), Guard::Whole)?
            .is_some())
    }

    fn dir_stat(&self, dir: Ino) -> Read<Option<DirStat>> {
        let field = || dir.to_string().into_bytes();
        let all = [keys::DIR_LENGTH, keys::DIR_SPACE, keys::DIR_INODES];
        for key in all {
            self.want_item(Item::Field(key.into(), field()));
        }
        let number = |key: &str| -> Read<Option<i64>> {
            let value = self.field(key, field(), Guard::None)?;
            Ok(value.and_then(|value| keys::number(&value)))
        };
        let [length, space, inodes] = all.map(number);
        let (length, Some(space), inodes) = (length?, space?, inodes?) else {
            return Ok(None);
        };
        Ok(Some(DirStat {
            length: length.unwrap_or(0),
            space,
            inodes: inodes.unwrap_or(0),
        }))
    }

    fn delayed(&self, key: DelayedKey) -> Read<Option<Vec<(SliceId, u32)>>> {
        let list = self.field(keys::DELAYED, keys::delayed(key), Guard::Whole)?;
        Ok(list.map(|list| delayed_slices(&list)))
    }

    fn has_session(&self, session: SessionId) -> Read<bool> {
        let info = self.field(
            keys::SESSION_INFOS,
            session.to_string().into_bytes(),
            Guard::Whole,
        )?;
        Ok(info.is_some())
    }

    /// Redis keeps one less than the references, and nothing for one.
    fn slice_refs(&self, id: SliceId, size: u32) -> Read<i64> {
        let value = self.field(keys::SLICE_REFS, keys::slice(id, size), Guard::Whole)?;
        Ok(value
            .and_then(|value| keys::number::<i64>(&value))
            .unwrap_or(0)
            + 1)
    }

    fn volume(&self, id: &str) -> Read<Option<VolumeRecord>> {
        let json = self.field(keys::VOLUMES, id.as_bytes().to_vec(), Guard::Whole)?;
        json.map(|json| serde_json::from_slice(&json).map_err(|_| damaged("a volume's record")))
            .transpose()
    }

    fn volumes_at(&self, path: &str) -> Read<Vec<VolumeRecord>> {
        let ids = self.get(Item::Set(keys::path(path)), Guard::Whole)?;
        let record = |id: &Vec<u8>| self.volume(&String::from_utf8_lossy(id)).transpose();
        ids.parts().iter().filter_map(record).collect()
    }
}
