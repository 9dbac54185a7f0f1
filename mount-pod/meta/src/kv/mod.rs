//! JuiceFS's key-value layout, once for all stores of the [`Store`] trait.
//!
//! A plan runs over what is known and what was seen lately; its mutations become writes
//! of keys by the same view, so that all they read is guarded; one commit applies them
//! if the guards hold. If not, the store says what it found, and the plan runs again with
//! that. JuiceFS's own clients compare what they read at each commit likewise, so each
//! sees the other's change.

mod acls;
mod apply;
pub(crate) mod etcd;
mod keys;
mod known;
mod lists;
mod locks;
#[cfg(test)]
mod memory;
mod parts;
mod split;
pub(crate) mod store;
#[cfg(test)]
mod tests;
#[cfg(feature = "tikv")]
pub(crate) mod tikv;
mod view;

use std::{ops::Range, time::Duration};

use carafe_types::{Acl, Attr, CHUNK_SIZE, Error, Ino, Result, Secret, SessionId, SliceId};

use self::{
    known::{Known, Recent},
    split::Split,
    store::{Commit, Guard, Pair, Query, Revision, Seen, Store, Transaction},
    view::{Notes, View},
};
use crate::{
    ChunkRecord, OpKey, RenewError, SessionRecord, VolumeRecord,
    engine::{Delayed, Deleted, Engine, PlanFn, RawEntry, ReadFn, Terms},
    ops::{Counter, Mutation, Planned, Read, Stop},
    record::{self, Recorded},
    retry::{CONTENDED, Failure, Pause},
};

/// Slices that one transaction appends: each is a chunk, an inode and their directory,
/// and a chunk's list takes up to 60 kB.
const MOST_COMMITS: usize = 20;
/// Bytes that one transaction copies by reference.
const MOST_COPIED: u64 = 8 * CHUNK_SIZE;

/// So many conflicts in a row before others are let by.
const CONFLICTS: u32 = 4;

/// The engine over a store.
pub(crate) struct Kv<S> {
    store: S,
    recent: Recent,
}

/// What a plan's runs share.
struct Run {
    known: Known,
    guesses: bool,
    pause: Pause,
    conflicts: u32,
    /// The holes that were made before.
    holes: Vec<Mutation>,
}

/// What one run came to.
enum Ran<T> {
    /// The operation was done before.
    Recorded(T),
    /// To be committed, if there is anything to.
    Planned(Planned<T>, Split),
    /// These are to be made first.
    Holes(Vec<Mutation>),
}

impl Run {
    fn new() -> Self {
        Self {
            known: Known::default(),
            guesses: true,
            pause: Pause::default(),
            conflicts: 0,
            holes: Vec::new(),
        }
    }

    /// Forgets all, and guesses no more.
    fn start_again(&mut self) {
        self.known = Known::default();
        self.guesses = false;
    }

    /// Goes on from what a commit found instead of what was read. That is fresh and worth
    /// a try at once; only now and then others are let by, and then it is fresh no more.
    async fn changed(&mut self, terms: Terms, at: Revision, pairs: Vec<Pair>) -> Result<()> {
        self.conflicts += 1;
        if self.conflicts.is_multiple_of(CONFLICTS) {
            self.pause.yield_to_others(terms, CONTENDED).await?;
            self.known = Known::default();
            self.guesses = true;
        } else {
            self.known.start_again(at, pairs);
            self.guesses = false;
        }
        Ok(())
    }
}

impl<S: Store> Kv<S> {
    /// An engine over `store`.
    pub(crate) fn new(store: S) -> Self {
        Self {
            store,
            recent: Recent::default(),
        }
    }

    fn run_once<T: Recorded>(
        &self,
        run: &Run,
        key: Option<OpKey>,
        plan: &PlanFn<T>,
    ) -> (Read<Ran<T>>, Notes) {
        let (whole, notes) = self.attempt(run, key, plan, false);
        let fits = notes.transaction.fits(self.store.limits());
        if fits || !matches!(whole, Ok(Ran::Planned(..))) {
            return (whole, notes);
        }
        self.attempt(run, key, plan, true)
    }

    fn attempt<T: Recorded>(
        &self,
        run: &Run,
        key: Option<OpKey>,
        plan: &PlanFn<T>,
        in_parts: bool,
    ) -> (Read<Ran<T>>, Notes) {
        let view = View::new(&run.known, &self.recent, run.guesses);
        let ran = self.plan_and_apply(&view, run, key, plan, in_parts);
        let mut notes = view.into_notes();
        if matches!(&ran, Ok(Ran::Planned(_, split)) if split.independent) {
            keep_written(&mut notes.transaction);
        }
        (ran, notes)
    }

    fn plan_and_apply<T: Recorded>(
        &self,
        view: &View<'_>,
        run: &Run,
        key: Option<OpKey>,
        plan: &PlanFn<T>,
        in_parts: bool,
    ) -> Read<Ran<T>> {
        let recorded = key.map(|key| view.value(keys::operation(key))).transpose();
        let planned = plan(view);
        if let (Some(key), Some(record)) = (key, recorded?.flatten())
            && let Some(answer) = record::unseal(key.sequence, &record)
        {
            return Ok(Ran::Recorded(answer));
        }
        let planned = planned?;
        let holes = split::holes(&planned.mutations);
        if holes != run.holes {
            return Ok(Ran::Holes(holes));
        }
        let mut split = Split {
            now: planned.mutations.clone(),
            ..Split::default()
        };
        if !holes.is_empty() {
            split.now = split::without_holes(&split.now);
        }
        if in_parts {
            split = split::fewer(split.now, self.store.limits().operations / 2);
        }
        apply::apply_all(view, &split.now)?;
        if let Some(key) = key.filter(|key| is_recorded(*key, &split)) {
            view.put(
                keys::operation(key),
                record::seal(key.sequence, &planned.answer),
            );
        }
        Ok(Ran::Planned(planned, split))
    }

    /// Sends a plan's writes. `None` means: run it again.
    async fn commit<T>(
        &self,
        terms: Terms,
        transaction: Transaction,
        planned: Planned<T>,
        split: Split,
        run: &mut Run,
    ) -> Result<Option<Planned<T>>> {
        self.check_size(&transaction)?;
        match self.store.commit(terms, &transaction).await {
            Ok(Commit::Done(version)) => {
                self.remember(transaction, version);
                for ino in split.attributes_of {
                    self.clear(terms, keys::xattrs(ino)).await?;
                }
                if split.again {
                    run.start_again();
                    return Ok(None);
                }
                Ok(Some(planned))
            }
            Ok(Commit::Conflict(at, pairs)) => {
                for (key, seen) in &pairs {
                    known::remember(&self.recent, key, seen);
                }
                run.changed(terms, at, pairs).await?;
                Ok(None)
            }
            Err(Failure::Lost(reason)) => {
                run.start_again();
                run.pause.wait(terms, &reason).await?;
                Ok(None)
            }
            Err(Failure::Final(error)) => Err(error),
        }
    }

    fn check_size(&self, transaction: &Transaction) -> Result<()> {
        let limits = self.store.limits();
        if transaction.fits(limits) {
            return Ok(());
        }
        Err(Error::Io(format!(
            "{}: the operation changes {} keys in {} bytes, and one transaction takes {} and {}: {}",
            self.store.name(),
            transaction.writes.len(),
            transaction.bytes(),
            limits.operations,
            limits.bytes,
            limits.remedy
        )))
    }

    fn remember(&self, transaction: Transaction, version: u64) {
        for (key, value) in transaction.writes {
            let version = if value.is_some() { version } else { 0 };
            known::remember(&self.recent, &key, &Seen { value, version });
        }
    }

    /// Fetches what a run missed; begins anew if the store was lost on the way.
    async fn fetch(&self, terms: Terms, notes: &Notes, run: &mut Run) -> Result<()> {
        let fetched = run
            .known
            .fetch(&self.store, terms, &notes.missing, &self.recent);
        match fetched.await {
            Ok(()) => Ok(()),
            Err(Failure::Lost(reason)) => {
                run.start_again();
                run.pause.wait(terms, &reason).await
            }
            Err(Failure::Final(error)) => Err(error),
        }
    }
}

/// A session that ends takes its records with it.
fn is_recorded(key: OpKey, split: &Split) -> bool {
    let ends = |one: &Mutation| matches!(one, Mutation::DropSession { session } if *session == key.session);
    !split.now.is_empty() && !split.again && !split.now.iter().any(ends)
}

/// Of a plan whose parts are independent: only what this part changes is guarded.
fn keep_written(transaction: &mut Transaction) {
    let Transaction { guards, writes } = transaction;
    guards.retain(|guard| match guard {
        Guard::Same(key, _) => writes.iter().any(|(written, _)| written == key),
        Guard::Range { .. } => true,
    });
}

/// The port of etcd's members and of TiKV's placement drivers that name none.
const PORT: &str = "2379";

/// The members, each `host:port`, of a list with commas; `None` if that is not one.
fn members(hosts: &str) -> Option<Vec<String>> {
    hosts.split(',').map(member).collect()
}

/// `host:port` of a host with or without a port; `None` if that is not one.
fn member(host: &str) -> Option<String> {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    match host.rsplit_once(':') {
        _ if host.is_empty() => None,
        // An IPv6 address without a port.
        Some(_) if host.ends_with(']') => Some(format!("{host}:{PORT}")),
        Some((name, port)) => (!name.is_empty() && is_port(port)).then(|| host.to_owned()),
        None => Some(format!("{host}:{PORT}")),
    }
}

/// Nothing lacks once all that was missing is fetched.
fn unanswered() -> Error {
    Error::Io("a read was not answered".into())
}

impl<S: Store> Engine for Kv<S> {
    fn name(&self) -> String {
        self.store.name()
    }

    async fn renew_login(&self, url: &str, password: Option<&Secret>) -> Result<(), RenewError> {
        self.store.renew_login(url, password).await
    }

    async fn prepare(&self, _terms: Terms) -> Result<()> {
        Ok(())
    }

    async fn transact<T: Recorded>(&self, terms: Terms, plan: PlanFn<T>) -> Result<Planned<T>> {
        let mut run = Run::new();
        loop {
            let (ran, notes) = self.run_once(&run, terms.key, &plan);
            let writes = !notes.transaction.writes.is_empty();
            match ran {
                Err(Stop::Missing) if notes.missing.is_empty() => return Err(unanswered()),
                Err(Stop::Missing) => self.fetch(terms, &notes, &mut run).await?,
                Ok(Ran::Planned(planned, split)) if writes => {
                    self.prepare_for(terms, &split.now).await?;
                    let committed = self.commit(terms, notes.transaction, planned, split, &mut run);
                    if let Some(done) = committed.await? {
                        return Ok(done);
                    }
                }
                // What no guard confirms must not rest on guesses.
                _ if notes.relied => run.start_again(),
                Ok(Ran::Holes(holes)) => {
                    self.make_holes(terms, &holes).await?;
                    run.start_again();
                    run.holes = holes;
                }
                Ok(Ran::Recorded(answer)) => {
                    return Ok(Planned {
                        answer,
                        mutations: Vec::new(),
                    });
                }
                Ok(Ran::Planned(planned, _)) => return Ok(planned),
                Err(Stop::Answer(error)) => return Err(error),
            }
        }
    }

    async fn read<T: Send + 'static>(&self, terms: Terms, look: ReadFn<T>) -> Result<T> {
        let mut run = Run::new();
        loop {
            let (outcome, notes) = {
                let view = View::new(&run.known, &self.recent, false);
                let outcome = look(&view);
                (outcome, view.into_notes())
            };
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(Stop::Answer(error)) => return Err(error),
                Err(Stop::Missing) if notes.missing.is_empty() => return Err(unanswered()),
                Err(Stop::Missing) => self.fetch(terms, &notes, &mut run).await?,
            }
        }
    }

    async fn take_ids(&self, terms: Terms, counter: Counter, count: u64) -> Result<Range<u64>> {
        let take: PlanFn<record::Unrecorded<i64>> = std::sync::Arc::new(move |reads| {
            let value = reads.counter(counter)? + count as i64;
            let set = Mutation::SetCounter { counter, value };
            Planned::with(record::Unrecorded(value), vec![set])
        });
        let terms = Terms { key: None, ..terms };
        let end = self.transact(terms, take).await?.answer.0 as u64;
        // nextInode and nextChunk hold the next id, the others the last one.
        let end = if matches!(counter, Counter::NextInode | Counter::NextChunk) {
            end
        } else {
            end + 1
        };
        Ok(end - count..end)
    }

    async fn scan_dir(
        &self,
        terms: Terms,
        dir: Ino,
        visit: &mut (dyn FnMut(RawEntry) + Send),
    ) -> Result<()> {
        lists::scan_dir(&self.store, terms, dir, visit).await
    }

    async fn nodes(&self, terms: Terms, inos: &[Ino]) -> Result<Vec<Option<Attr>>> {
        lists::nodes(&self.store, terms, inos).await
    }

    async fn chunks(&self, terms: Terms, ino: Ino, _length: u64) -> Result<Vec<u32>> {
        lists::chunks(&self.store, terms, keys::chunks(ino)).await
    }

    async fn scan_chunks(
        &self,
        patience: Duration,
        visit: &mut (dyn FnMut(ChunkRecord) + Send),
    ) -> Result<()> {
        lists::all_chunks(&self.store, patience, visit).await
    }

    async fn sessions(&self, terms: Terms) -> Result<Vec<SessionRecord>> {
        lists::sessions(&self.store, terms).await
    }

    async fn sustained(&self, terms: Terms, session: SessionId) -> Result<Vec<Ino>> {
        lists::sustained(&self.store, terms, session).await
    }

    async fn quotas(&self, terms: Terms) -> Result<Vec<Ino>> {
        lists::quotas(&self.store, terms).await
    }

    async fn deleted(&self, terms: Terms, before: i64, limit: usize) -> Result<Vec<Deleted>> {
        lists::deleted(&self.store, terms, before, limit).await
    }

    async fn delayed(&self, terms: Terms, before: i64, limit: usize) -> Result<Vec<Delayed>> {
        lists::delayed(&self.store, terms, before, limit).await
    }

    async fn dead_slices(&self, terms: Terms, limit: usize) -> Result<Vec<(SliceId, u32)>> {
        lists::dead_slices(&self.store, terms, limit).await
    }

    async fn volumes(
        &self,
        terms: Terms,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<VolumeRecord>> {
        lists::volumes(&self.store, terms, &after.unwrap_or_default(), limit).await
    }

    async fn acl(&self, terms: Terms, number: u32) -> Result<Option<Acl>> {
        acls::list(&self.store, terms, number).await
    }

    async fn acl_number(&self, terms: Terms, list: Acl) -> Result<u32> {
        acls::number(&self.store, terms, &list).await
    }

    /// A store answers a commit once a majority of its members has it.
    async fn sync(&self, _terms: Terms) -> Result<()> {
        Ok(())
    }

    async fn preflight(&self, terms: Terms) -> Result<Vec<String>> {
        self.store.preflight(terms).await
    }

    fn most_commits(&self) -> usize {
        MOST_COMMITS
    }

    fn most_copied(&self) -> u64 {
        MOST_COPIED
    }
}

/// Reads until answered, for what may be repeated.
async fn steady<S: Store>(store: &S, terms: Terms, queries: &[Query]) -> Result<Vec<store::Found>> {
    let mut pause = Pause::default();
    loop {
        match store.look(terms, None, queries).await {
            Ok((_, found)) => return Ok(found),
            Err(Failure::Lost(reason)) => pause.wait(terms, &reason).await?,
            Err(Failure::Final(error)) => return Err(error),
        }
    }
}
