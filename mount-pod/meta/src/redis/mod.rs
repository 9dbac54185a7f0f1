//! Redis: one multiplexed connection, and for most operations one round trip.
//!
//! A look is a pipeline of plain reads. A plan starts from what was seen lately
//! ([`crate::guesses`]); its mutations go to the server as one script that first checks
//! that all the plan read still holds. If not, the script answers what it found,
//! and the plan runs again with that. JuiceFS's own writers use WATCH on the same
//! keys, so each sees the other's change.

mod connect;
mod dial;
mod hosts;
mod keys;
mod lists;
mod locate;
mod login;
mod program;
mod raw;
mod space;
mod target;
mod view;
mod wire;

use std::{collections::HashMap, ops::Range, time::Duration};

use carafe_types::{Acl, Attr, Error, Ino, Result, Secret, SessionId, SliceId};
use redis::{Script, Value};

pub(crate) use connect::connect;
#[cfg(test)]
pub(crate) use connect::open;

use self::{
    program::Program,
    raw::{Guard, Item, Raw},
    view::{Fetch, Notes, View},
    wire::Wire,
};
use crate::{
    ChunkRecord, OpKey, RenewError, SessionRecord, VolumeRecord,
    engine::{Delayed, Deleted, Engine, PlanFn, RawEntry, ReadFn, Terms},
    guesses::Guesses,
    ops::{Counter, Mutation, Planned, Stop},
    record::{self, Recorded},
    retry::{CONTENDED, Failure, Pause},
};

/// What its URLs begin with.
pub(crate) const SCHEMES: [&str; 3] = ["redis", "rediss", "unix"];

/// The Redis engine.
pub(crate) struct Redis {
    wire: Wire,
    guesses: Guesses<Item, Raw>,
    write: Script,
    lookup: Script,
}

/// How the write script answered.
enum Written {
    Done,
    Recorded(Vec<u8>),
    /// What the guards found.
    Changed(Vec<Value>),
    /// A limit is passed.
    Limit(Error),
}

impl Redis {
    /// Fetches what a run missed.
    async fn fetch(
        &self,
        terms: Terms,
        missing: &[Fetch],
        known: &mut HashMap<Item, Raw>,
    ) -> Result<()> {
        let mut pause = Pause::default();
        let mut pipeline = redis::Pipeline::with_capacity(missing.len());
        for fetch in missing {
            match fetch {
                Fetch::One(item) => pipeline.add_command(item.command()),
                Fetch::Lookup(parent, name) => {
                    let (keys, arguments) = (
                        [keys::dir(*parent), keys::node(*parent)],
                        [name.clone(), self.wire.prefix.clone()],
                    );
                    pipeline.add_command(wire::evaluate(&self.lookup, &keys, &arguments))
                }
            };
        }
        let values = loop {
            match self.wire.pipeline(terms, &pipeline).await {
                Ok(values) => break values,
                Err(Failure::Lost(reason)) if reason == wire::NO_SCRIPT => {
                    self.wire.load(terms, &self.lookup).await?;
                }
                Err(Failure::Lost(reason)) => pause.wait(terms, &reason).await?,
                Err(Failure::Final(error)) => return Err(error),
            }
        };
        for (fetch, value) in missing.iter().zip(values) {
            match fetch {
                Fetch::One(item) => self.learn(item.clone(), Raw::from_value(value), known),
                Fetch::Lookup(parent, name) => self.learn_entry(*parent, name, value, known),
            }
        }
        Ok(())
    }

    fn guess(&self, item: Item, raw: Raw) {
        if matches!(item, Item::Text(_) | Item::Field(..) | Item::Filled(_))
            && raw.bytes().is_none_or(|bytes| bytes.len() < 256)
        {
            self.guesses.put(item, raw);
        }
    }

    fn learn(&self, item: Item, raw: Raw, known: &mut HashMap<Item, Raw>) {
        self.guess(item.clone(), raw.clone());
        known.insert(item, raw);
    }

    fn learn_entry(&self, parent: Ino, name: &[u8], value: Value, known: &mut HashMap<Item, Raw>) {
        let mut parts = if let Value::Array(parts) = value {
            parts
        } else {
            Vec::new()
        }
        .into_iter();
        let entry = Raw::from_value(parts.next().unwrap_or_default());
        let ino = entry
            .bytes()
            .and_then(keys::parse_entry)
            .map(|entry| entry.ino);
        let is_absent = entry == Raw::Nothing;
        self.learn(Item::Field(keys::dir(parent), name.to_vec()), entry, known);
        let node = parts.next();
        if let Some(node) = node.clone().filter(|_| is_absent) {
            self.learn(Item::Text(keys::node(parent)), Raw::from_value(node), known);
        }
        if let (Some(ino), Some(node)) = (ino, node) {
            self.learn(Item::Text(keys::node(ino)), Raw::from_value(node), known);
            self.learn(
                Item::Filled(keys::dir(ino)),
                Raw::from_value(parts.next().unwrap_or(Value::Int(0))),
                known,
            );
        }
    }

    /// Sends a plan's mutations.
    async fn write(
        &self,
        terms: Terms,
        guards: &[(Item, Guard, Raw)],
        mutations: &[Mutation],
        record: Option<(OpKey, Vec<u8>)>,
    ) -> Result<Written, Failure> {
        let program = Program::new(guards, mutations, record);
        let answer = self
            .wire
            .script(terms, &self.write, &program.keys, &program.arguments)
            .await?;
        let unreadable = || {
            Failure::Final(Error::Io(
                "redis: the write script's answer is not readable".into(),
            ))
        };
        let Value::Array(parts) = answer else {
            return Err(unreadable());
        };
        let mut parts = parts.into_iter();
        match parts.next() {
            Some(Value::Int(0)) => Ok(Written::Done),
            Some(Value::Int(1)) => {
                let record = Raw::from_value(parts.next().unwrap_or_default());
                Ok(Written::Recorded(
                    record.bytes().unwrap_or_default().to_vec(),
                ))
            }
            Some(Value::Int(2)) => Ok(Written::Changed(parts.collect())),
            Some(Value::Int(3)) => {
                let what = Raw::from_value(parts.next().unwrap_or_default());
                let is_quota = what.bytes() == Some(b"quota");
                Ok(Written::Limit(if is_quota {
                    Error::QuotaExceeded
                } else {
                    Error::NoSpace
                }))
            }
            _ => Err(unreadable()),
        }
    }

    /// The answer that an operation with this key gave before, if it was done.
    async fn recorded<T: Recorded>(&self, terms: Terms, key: Option<OpKey>) -> Result<Option<T>> {
        let Some(OpKey {
            session,
            slot,
            sequence,
        }) = key
        else {
            return Ok(None);
        };
        let item = Item::Field(keys::operations(session), slot.to_string().into_bytes());
        let raw = Raw::from_value(self.wire.steady(terms, &item.command()).await?);
        Ok(raw
            .bytes()
            .and_then(|record| record::unseal(sequence, record)))
    }

    fn remember(&self, mutations: &[Mutation], guards: &[(Item, Guard, Raw)]) {
        for (item, raw) in program::outcomes(mutations, guards) {
            match raw {
                Some(raw) => self.guess(item, raw),
                None => self.guesses.forget(&item),
            }
        }
        for mutation in mutations {
            if let Mutation::SetEntry { parent, .. } | Mutation::DropEntry { parent, .. } = mutation
            {
                self.guesses.forget(&Item::Filled(keys::dir(*parent)));
            }
        }
    }

    /// Sends a plan that has mutations. `Err(None)` means: run it again.
    async fn apply<T: Recorded>(
        &self,
        terms: Terms,
        planned: Planned<T>,
        notes: &Notes,
        run: &mut Run,
    ) -> Result<Option<Planned<T>>> {
        let mutations = self.expand(terms, planned.mutations).await?;
        let record = terms
            .key
            .map(|key| (key, record::seal(key.sequence, &planned.answer)));
        match self.write(terms, &notes.guards, &mutations, record).await {
            Ok(Written::Done) => {
                self.remember(&mutations, &notes.guards);
                Ok(Some(Planned {
                    answer: planned.answer,
                    mutations,
                }))
            }
            Ok(Written::Recorded(record)) => {
                let answer = terms
                    .key
                    .and_then(|key| record::unseal(key.sequence, &record));
                let unreadable = || Error::Io("the operation's record is not readable".into());
                Ok(Some(Planned {
                    answer: answer.ok_or_else(unreadable)?,
                    mutations: Vec::new(),
                }))
            }
            Ok(Written::Changed(values)) => {
                run.start_again();
                for ((item, ..), value) in notes.guards.iter().zip(values) {
                    self.learn(item.clone(), Raw::from_value(value), &mut run.known);
                }
                run.pause.yield_to_others(terms, CONTENDED).await?;
                Ok(None)
            }
            Err(Failure::Lost(reason)) => {
                run.start_again();
                run.pause.wait(terms, &reason).await?;
                Ok(None)
            }
            Ok(Written::Limit(error)) | Err(Failure::Final(error)) => Err(error),
        }
    }
}

/// What a plan's runs share.
struct Run {
    known: HashMap<Item, Raw>,
    guess: bool,
    pause: Pause,
}

impl Run {
    /// Forgets all, and guesses no more.
    fn start_again(&mut self) {
        self.known.clear();
        self.guess = false;
    }
}

impl Engine for Redis {
    fn name(&self) -> String {
        self.wire.line.place().to_owned()
    }

    async fn renew_login(&self, url: &str, password: Option<&Secret>) -> Result<(), RenewError> {
        let place = self.wire.line.place();
        let elsewhere = |named: String| RenewError::Elsewhere {
            place: place.to_owned(),
            named,
        };
        let (scheme, _) = url.split_once("://").unwrap_or_default();
        if !SCHEMES.contains(&scheme) {
            return Err(elsewhere(format!("{scheme}://")));
        }
        let mut target = target::parse(url, password).map_err(RenewError::Unusable)?;
        target.sentinel_login = self.wire.line.target().sentinel_login.clone();
        if !self.wire.prefix.is_empty() {
            target = target.into_cluster().map_err(RenewError::Unusable)?;
        }
        if target.name != place {
            return Err(elsewhere(target.name));
        }
        let renewed = self.wire.line.renew(target).await;
        renewed.map_err(RenewError::Pending)
    }

    async fn prepare(&self, _terms: Terms) -> Result<()> {
        Ok(())
    }

    async fn transact<T: Recorded>(&self, terms: Terms, plan: PlanFn<T>) -> Result<Planned<T>> {
        let mut run = Run {
            known: HashMap::new(),
            guess: true,
            pause: Pause::default(),
        };
        loop {
            let (outcome, notes) = {
                let view = View::new(&run.known, run.guess.then_some(&self.guesses));
                let outcome = plan(&view);
                (outcome, view.into_notes())
            };
            match outcome {
                Err(Stop::Missing) => self.fetch(terms, &notes.missing, &mut run.known).await?,
                // An answer that no guard confirms must not rest on guesses.
                _ if notes.relied
                    && !outcome
                        .as_ref()
                        .is_ok_and(|planned| !planned.mutations.is_empty()) =>
                {
                    run.start_again();
                }
                Ok(planned) if !planned.mutations.is_empty() => {
                    if let Some(done) = self.apply(terms, planned, &notes, &mut run).await? {
                        return Ok(done);
                    }
                }
                other => {
                    if let Some(answer) = self.recorded(terms, terms.key).await? {
                        return Ok(Planned {
                            answer,
                            mutations: Vec::new(),
                        });
                    }
                    return match other {
                        Ok(planned) => Ok(planned),
                        Err(Stop::Answer(error)) => Err(error),
                        Err(Stop::Missing) => Err(Error::Io("a read was not answered".into())),
                    };
                }
            }
        }
    }

    async fn read<T: Send + 'static>(&self, terms: Terms, look: ReadFn<T>) -> Result<T> {
        let mut known = HashMap::new();
        loop {
            let (outcome, notes) = {
                let view = View::new(&known, None);
                let outcome = look(&view);
                (outcome, view.into_notes())
            };
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(Stop::Answer(error)) => return Err(error),
                Err(Stop::Missing) => self.fetch(terms, &notes.missing, &mut known).await?,
            }
        }
    }

    async fn take_ids(&self, terms: Terms, counter: Counter, count: u64) -> Result<Range<u64>> {
        let mut command = redis::cmd("INCRBY");
        command.arg(keys::counter(counter)).arg(count);
        match self.wire.steady(terms, &command).await? {
            Value::Int(last) => Ok((last as u64 + 1).saturating_sub(count)..last as u64 + 1),
            _ => Err(Error::Io(format!(
                "redis: the counter {} is damaged",
                counter.name()
            ))),
        }
    }

    async fn scan_dir(
        &self,
        terms: Terms,
        dir: Ino,
        visit: &mut (dyn FnMut(RawEntry) + Send),
    ) -> Result<()> {
        lists::scan_dir(&self.wire, terms, dir, visit).await
    }

    async fn nodes(&self, terms: Terms, inos: &[Ino]) -> Result<Vec<Option<Attr>>> {
        let values = lists::nodes(&self.wire, terms, inos).await?;
        if inos.len() <= MOST_SEEN {
            for (ino, raw) in inos.iter().zip(&values) {
                self.guess(Item::Text(keys::node(*ino)), raw.clone());
            }
        }
        Ok(values
            .iter()
            .map(|raw| raw.bytes().and_then(Attr::decode))
            .collect())
    }

    fn rest(&self) {
        self.guesses.age();
    }

    fn saw_entries(&self, dir: Ino, entries: &mut dyn Iterator<Item = &RawEntry>) {
        for entry in entries {
            let value = keys::entry_value(entry.kind, entry.ino);
            self.guess(
                Item::Field(keys::dir(dir), entry.name.clone()),
                Raw::Bytes(value),
            );
        }
    }

    async fn chunks(&self, terms: Terms, ino: Ino, length: u64) -> Result<Vec<u32>> {
        lists::chunks(&self.wire, terms, ino, length).await
    }

    async fn scan_chunks(
        &self,
        patience: Duration,
        visit: &mut (dyn FnMut(ChunkRecord) + Send),
    ) -> Result<()> {
        lists::scan_all_chunks(&self.wire, patience, visit).await
    }

    async fn sessions(&self, terms: Terms) -> Result<Vec<SessionRecord>> {
        lists::sessions(&self.wire, terms).await
    }

    async fn sustained(&self, terms: Terms, session: SessionId) -> Result<Vec<Ino>> {
        let raw = Raw::from_value(
            self.wire
                .steady(terms, &Item::Set(keys::sustained(session)).command())
                .await?,
        );
        Ok(raw
            .parts()
            .iter()
            .filter_map(|ino| keys::number(ino).map(Ino))
            .collect())
    }

    async fn quotas(&self, terms: Terms) -> Result<Vec<Ino>> {
        let raw = Raw::from_value(
            self.wire
                .steady(terms, &Item::Fields(keys::QUOTA.into()).command())
                .await?,
        );
        Ok(raw
            .parts()
            .iter()
            .filter_map(|ino| keys::number(ino).map(Ino))
            .collect())
    }

    async fn deleted(&self, terms: Terms, before: i64, limit: usize) -> Result<Vec<Deleted>> {
        lists::deleted(&self.wire, terms, before, limit).await
    }

    async fn delayed(&self, terms: Terms, before: i64, limit: usize) -> Result<Vec<Delayed>> {
        lists::delayed(&self.wire, terms, before, limit).await
    }

    async fn dead_slices(&self, terms: Terms, limit: usize) -> Result<Vec<(SliceId, u32)>> {
        lists::dead_slices(&self.wire, terms, limit).await
    }

    async fn volumes(
        &self,
        terms: Terms,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<VolumeRecord>> {
        lists::volumes(&self.wire, terms, &after.unwrap_or_default(), limit).await
    }

    /// How durable an answer is, is the server's (`appendfsync`): see the preflight.
    async fn acl(&self, terms: Terms, number: u32) -> Result<Option<Acl>> {
        lists::acl(&self.wire, terms, number).await
    }

    async fn acl_number(&self, terms: Terms, list: Acl) -> Result<u32> {
        lists::acl_number(&self.wire, terms, &list).await
    }

    async fn sync(&self, _terms: Terms) -> Result<()> {
        Ok(())
    }

    async fn preflight(&self, terms: Terms) -> Result<Vec<String>> {
        lists::preflight(&self.wire, terms).await
    }
}

/// The inodes of a page and its directory: of more at once, none is likely to be used
/// next.
const MOST_SEEN: usize = 1025;
/// A range of chunks up to this size is tried chunk by chunk.
const TRIED: u32 = 4096;

impl Redis {
    /// A huge cut in a sparse file becomes the few chunks that are there: the guard
    /// on the file's inode keeps them from changing meanwhile.
    async fn expand(&self, terms: Terms, mutations: Vec<Mutation>) -> Result<Vec<Mutation>> {
        let is_huge = |mutation: &Mutation| matches!(mutation, Mutation::ZeroChunks { after, before, .. } if before - after > TRIED);
        if !mutations.iter().any(is_huge) {
            return Ok(mutations);
        }
        let mut expanded = Vec::with_capacity(mutations.len());
        for mutation in mutations {
            let Mutation::ZeroChunks { ino, after, before } = mutation else {
                expanded.push(mutation);
                continue;
            };
            for index in lists::scan_chunks(&self.wire, terms, ino).await? {
                if index > after && index < before {
                    expanded.push(Mutation::ZeroChunks {
                        ino,
                        after: index - 1,
                        before: index + 1,
                    });
                }
            }
        }
        Ok(expanded)
    }
}

/// Reads a URL and drops it.
#[cfg(test)]
pub(crate) fn fuzz_url(url: &str) {
    if let Err(error) = target::parse(url, None) {
        assert!(!error.to_string().is_empty(), "an error says something");
    }
}

/// Reads a field or value of every kind.
#[cfg(test)]
pub(crate) fn fuzz_fields(bytes: &[u8]) {
    let _ = keys::parse_owner(bytes);
    let _ = keys::parse_slice(bytes);
    let _ = keys::parse_entry(bytes);
}
