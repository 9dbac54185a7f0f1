//! The store as a plan and its mutations see it: what is known, and guesses, under what
//! was written already. What is missing is noted, fetched, and all runs again.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use bytes::Bytes;
use carafe_types::{Attr, Error, FileType, Ino, SessionId, Slice, SliceId};

use super::{
    keys,
    known::{Fact, Item, Known, Recent},
    lists::WAITING,
    locks,
    store::{Key, Transaction},
};
use crate::{
    DirStat, Quota, QuotaUsage, VolumeRecord,
    ops::{Counter, DelayedKey, Entry, FlockRow, PlockRow, Read, Reads, Stop, Want},
    sqlite::rows::delayed_slices,
};

/// What one run sees and notes.
pub(super) struct View<'a> {
    known: &'a Known,
    recent: &'a Recent,
    /// Whether what was seen lately is believed, or only tells what to ask for.
    guesses: bool,
    used: RefCell<HashMap<Item, Fact>>,
    missing: RefCell<Vec<Item>>,
    relied: Cell<bool>,
    writes: RefCell<BTreeMap<Key, Option<Bytes>>>,
}

/// What a run noted.
pub(super) struct Notes {
    /// What it read and changes.
    pub(super) transaction: Transaction,
    /// What must be fetched first.
    pub(super) missing: Vec<Item>,
    /// Whether anything was a guess.
    pub(super) relied: bool,
}

impl<'a> View<'a> {
    /// A view of what is known; of what was seen lately, too, if `guesses`.
    pub(super) fn new(known: &'a Known, recent: &'a Recent, guesses: bool) -> Self {
        Self {
            known,
            recent,
            guesses,
            used: RefCell::default(),
            missing: RefCell::default(),
            relied: Cell::new(false),
            writes: RefCell::default(),
        }
    }

    /// What the run noted.
    pub(super) fn into_notes(self) -> Notes {
        let guards = self.used.into_inner();
        Notes {
            transaction: Transaction {
                guards: guards.iter().map(|(item, fact)| item.guard(fact)).collect(),
                writes: self.writes.into_inner().into_iter().collect(),
            },
            missing: self.missing.into_inner(),
            relied: self.relied.get(),
        }
    }

    /// Writes a key.
    pub(super) fn put(&self, key: Key, value: impl Into<Bytes>) {
        self.writes.borrow_mut().insert(key, Some(value.into()));
    }

    /// Removes a key.
    pub(super) fn delete(&self, key: Key) {
        self.writes.borrow_mut().insert(key, None);
    }

    /// What lies at a key, guarded.
    pub(super) fn value(&self, key: Key) -> Read<Option<Bytes>> {
        self.look(key, true)
    }

    /// Asks for several keys at once.
    pub(super) fn want_all(&self, keys: impl Iterator<Item = Key>) -> Read<()> {
        keys.for_each(|key| self.want(Item::One(key)));
        self.is_complete()
    }

    /// The keys of a range in order, guarded as a whole.
    pub(super) fn all(&self, range: &Range<Key>, keys_only: bool) -> Read<Vec<(Key, Bytes)>> {
        let item = Item::All(range.clone(), keys_only);
        let Fact::Many(pairs, _) = self.fact(item, true)? else {
            return Err(damaged("a range"));
        };
        let known = pairs.into_iter().map(|(key, seen)| (key, seen.value));
        let mut all: BTreeMap<Key, Option<Bytes>> = known.collect();
        let writes = self.writes.borrow();
        all.extend(
            writes
                .range(range.clone())
                .map(|(key, new)| (key.clone(), new.clone())),
        );
        Ok(all
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect())
    }

    fn look(&self, key: Key, guarded: bool) -> Read<Option<Bytes>> {
        if let Some(written) = self.writes.borrow().get(&key) {
            return Ok(written.clone());
        }
        match self.fact(Item::One(key), guarded)? {
            Fact::One(seen) => Ok(seen.value),
            Fact::Many(..) => Err(damaged("an answer")),
        }
    }

    fn fact(&self, item: Item, guarded: bool) -> Read<Fact> {
        let Some(fact) = self.find(&item) else {
            self.note(item);
            return Err(Stop::Missing);
        };
        if guarded {
            self.used.borrow_mut().insert(item, fact.clone());
        }
        Ok(fact)
    }

    fn find(&self, item: &Item) -> Option<Fact> {
        // What was read once stays what it was for the whole run.
        if let Some(fact) = self.used.borrow().get(item) {
            return Some(fact.clone());
        }
        if let Some(fact) = self.known.get(item) {
            return Some(fact.clone());
        }
        let Item::One(key) = item else { return None };
        let seen = self.recent.get(key).filter(|_| self.guesses)?;
        self.relied.set(true);
        Some(Fact::One(seen))
    }

    fn note(&self, item: Item) {
        let mut missing = self.missing.borrow_mut();
        if !missing.contains(&item) {
            missing.push(item);
        }
    }

    fn is_complete(&self) -> Read<()> {
        if self.missing.borrow().is_empty() {
            Ok(())
        } else {
            Err(Stop::Missing)
        }
    }

    fn want(&self, item: Item) {
        if self.find(&item).is_none() {
            self.note(item);
        }
    }

    fn want_entry(&self, parent: Ino, name: &[u8], filled: bool) {
        let key = keys::entry(parent, name);
        let parse = |value: Option<Bytes>| value.and_then(|value| keys::parse_entry(&value));
        let named = if let Ok(value) = self.look(key.clone(), false) {
            parse(value)
        } else {
            // The inode that it named lately is asked for in the same trip.
            self.recent.get(&key).and_then(|seen| parse(seen.value))
        };
        if let Some(entry) = named {
            self.want(Item::One(keys::node(entry.ino)));
            if filled && entry.kind == FileType::Directory {
                self.want(Item::First(keys::entries(entry.ino)));
            }
        }
    }

    fn attr(&self, ino: Ino, guarded: bool) -> Read<Option<Attr>> {
        let Some(bytes) = self.look(keys::node(ino), guarded)? else {
            return Ok(None);
        };
        let damaged = || Error::Io(format!("inode {ino}: its attributes are damaged"));
        Ok(Some(Attr::decode(&bytes).ok_or_else(damaged)?))
    }
}

pub(super) fn damaged(what: &str) -> Stop {
    Error::Io(format!("{what} is damaged")).into()
}

impl Reads for View<'_> {
    fn prefetch(&self, wants: &[Want]) -> Read<()> {
        for want in wants {
            match want {
                Want::Node(ino) => self.want(Item::One(keys::node(*ino))),
                Want::Chunk(ino, index) => self.want(Item::One(keys::chunk(*ino, *index))),
                Want::Slice(id, size) => self.want(Item::One(keys::slice(*id, *size))),
                Want::EntryNode(parent, name) => self.want_entry(*parent, name, false),
                Want::EntryDir(parent, name) => self.want_entry(*parent, name, true),
            }
        }
        self.is_complete()
    }

    fn setting(&self) -> Read<Option<String>> {
        let text = self.value(keys::SETTING.to_vec())?;
        text.map(|text| String::from_utf8(text.to_vec()).map_err(|_| damaged("the setting")))
            .transpose()
    }

    fn node(&self, ino: Ino) -> Read<Option<Attr>> {
        self.attr(ino, true)
    }

    /// A store compares whole values, so times and links are guarded, too.
    fn dir(&self, ino: Ino) -> Read<Option<Attr>> {
        self.attr(ino, true)
    }

    fn parent(&self, ino: Ino) -> Read<Option<Ino>> {
        Ok(self.attr(ino, false)?.map(|attr| attr.parent))
    }

    fn entry(&self, parent: Ino, name: &[u8]) -> Read<Option<Entry>> {
        let value = self.value(keys::entry(parent, name))?;
        value
            .map(|value| keys::parse_entry(&value).ok_or_else(|| damaged("an entry")))
            .transpose()
    }

    fn has_entries(&self, ino: Ino) -> Read<bool> {
        let range = keys::entries(ino);
        let writes = self.writes.borrow();
        if writes.range(range.clone()).any(|(_, new)| new.is_some()) {
            return Ok(true);
        }
        match self.fact(Item::First(range), true)? {
            Fact::Many(pairs, _) => Ok(!pairs.is_empty()),
            Fact::One(_) => Err(damaged("an answer")),
        }
    }

    fn parents(&self, ino: Ino) -> Read<Vec<(Ino, i64)>> {
        let pair = |(key, count): (Key, Bytes)| {
            Some((keys::take_ino(keys::part_name(&key))?, keys::sum(&count)?))
        };
        let all = self.all(&keys::parents(ino), false)?;
        Ok(all
            .into_iter()
            .filter_map(pair)
            .filter(|(_, count)| *count > 0)
            .collect())
    }

    fn symlink(&self, ino: Ino) -> Read<Option<Vec<u8>>> {
        Ok(self.value(keys::symlink(ino))?.map(Into::into))
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Read<Option<Vec<u8>>> {
        Ok(self.value(keys::xattr(ino, name))?.map(Into::into))
    }

    fn xattr_names(&self, ino: Ino) -> Read<Vec<Vec<u8>>> {
        let all = self.all(&keys::xattrs(ino), true)?;
        Ok(all
            .iter()
            .map(|(key, _)| keys::part_name(key).to_vec())
            .collect())
    }

    fn chunk(&self, ino: Ino, index: u32) -> Read<Vec<Slice>> {
        let list = self.value(keys::chunk(ino, index))?.unwrap_or_default();
        Slice::decode_list(&list)
            .map_err(|error| Error::Io(format!("inode {ino}, chunk {index}: {error}")).into())
    }

    fn chunk_front(&self, ino: Ino, index: u32, count: usize) -> Read<Vec<Slice>> {
        let mut slices = self.chunk(ino, index)?;
        slices.truncate(count);
        Ok(slices)
    }

    fn flocks(&self, ino: Ino) -> Read<Vec<FlockRow>> {
        let value = self.value(keys::flocks(ino))?.unwrap_or_default();
        locks::parse_flocks(&value).ok_or_else(|| damaged("an inode's list of locks"))
    }

    fn plocks(&self, ino: Ino) -> Read<Vec<PlockRow>> {
        let value = self.value(keys::plocks(ino))?.unwrap_or_default();
        locks::parse_plocks(&value).ok_or_else(|| damaged("an inode's list of locks"))
    }

    fn counter(&self, counter: Counter) -> Read<i64> {
        let Some(value) = self.value(keys::counter(counter))? else {
            return Ok(0);
        };
        let number = if keys::is_lease(counter) {
            keys::numbers(&value).map(|[number]| number)
        } else {
            keys::sum(&value)
        };
        number.ok_or_else(|| damaged("a counter"))
    }

    fn quota(&self, ino: Ino) -> Read<Option<QuotaUsage>> {
        let Some(value) = self.value(keys::quota(ino))? else {
            return Ok(None);
        };
        let [bytes, inodes, used_bytes, used_inodes] =
            keys::numbers(&value).ok_or_else(|| damaged("a quota"))?;
        let limit = |limit: i64| limit.max(0) as u64;
        Ok(Some(QuotaUsage {
            quota: Quota {
                max_bytes: limit(bytes),
                max_inodes: limit(inodes),
            },
            used_bytes,
            used_inodes,
        }))
    }

    fn has_dir_stat(&self, dir: Ino) -> Read<bool> {
        Ok(self.value(keys::dir_stat(dir))?.is_some())
    }

    fn dir_stat(&self, dir: Ino) -> Read<Option<DirStat>> {
        let Some(value) = self.value(keys::dir_stat(dir))? else {
            return Ok(None);
        };
        let [length, space, inodes] =
            keys::numbers(&value).ok_or_else(|| damaged("a directory's statistics"))?;
        Ok(Some(DirStat {
            length,
            space,
            inodes,
        }))
    }

    fn delayed(&self, key: DelayedKey) -> Read<Option<Vec<(SliceId, u32)>>> {
        let list = self.value(keys::delayed(key))?;
        // No more than one transaction can take off.
        Ok(list.map(|list| {
            let mut slices = delayed_slices(&list);
            slices.truncate(WAITING);
            slices
        }))
    }

    fn has_session(&self, session: SessionId) -> Read<bool> {
        Ok(self.value(keys::session_expiry(session))?.is_some())
    }

    /// The layout keeps one less than the references, and nothing for one.
    fn slice_refs(&self, id: SliceId, size: u32) -> Read<i64> {
        let value = self.value(keys::slice(id, size))?;
        Ok(value.and_then(|value| keys::sum(&value)).unwrap_or(0) + 1)
    }

    fn volume(&self, id: &str) -> Read<Option<VolumeRecord>> {
        let json = self.value(keys::volume(id))?;
        json.map(|json| serde_json::from_slice(&json).map_err(|_| damaged("a volume's record")))
            .transpose()
    }

    fn volumes_at(&self, path: &str) -> Read<Vec<VolumeRecord>> {
        let range = keys::under(keys::volumes_at(path));
        let record = |(key, _): &(Key, Bytes)| {
            let id = key.get(range.start.len()..).unwrap_or_default();
            self.volume(&String::from_utf8_lossy(id)).transpose()
        };
        self.all(&range, true)?.iter().filter_map(record).collect()
    }
}
