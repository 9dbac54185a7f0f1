//! PostgreSQL and MySQL: servers that speak SQL, in JuiceFS's tables.
//!
//! A plan reads without a transaction and without locks: what it wants together
//! comes in one round trip. Its mutations go as one transaction in one more: checks
//! first, which lock and compare what the plan read, then the mutations, then the
//! commit. If a check fails, nothing was changed, and the plan runs again. JuiceFS's
//! own clients lock an inode's row before they change what belongs to it, as the
//! checks do, so each waits for the other or sees its change.

mod acls;
mod apply;
mod driver;
mod item;
mod lists;
mod login;
mod mysql;
mod names;
mod pool;
mod postgres;
mod rows;
mod scan;
mod statement;
mod view;

use std::{
    collections::HashSet,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_types::{Acl, Attr, Error, Ino, Result, Secret, SessionId, SliceId};

use self::{
    apply::Script,
    driver::{Connection, Driver, Failure, Target},
    item::{Guard, Item},
    pool::Pool,
    statement::{Rows, Statement, Unmet, Value, values},
    view::{Fetch, Known, Notes, View},
};
use crate::{
    Admin, ChunkRecord, ConnectError, ConnectOptions, OpKey, RenewError, SessionRecord,
    VolumeRecord,
    client::Client,
    engine::{Delayed, Deleted, Engine, PlanFn, RawEntry, ReadFn, Terms},
    ops::{Counter, Plan, Planned, Stop},
    record::{self, Recorded},
    retry::{CONTENDED, Pause},
};

/// What the URLs of these engines begin with.
pub(crate) const SCHEMES: [&str; 3] = ["postgres", "postgresql", "mysql"];

/// A client of the server that `url` names, whose scheme is one of [`SCHEMES`].
pub(crate) async fn connect(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Arc<dyn Admin>, ConnectError> {
    if is_of::<mysql::MySql>(url) {
        let engine: Sql<mysql::MySql> = open(url, password, options).await?;
        return Ok(Arc::new(Client::new(engine)));
    }
    let engine: Sql<postgres::Postgres> = open(url, password, options).await?;
    Ok(Arc::new(Client::new(engine)))
}

fn is_of<D: Driver>(url: &str) -> bool {
    let (scheme, _) = url.split_once("://").unwrap_or_default();
    D::SCHEMES.contains(&scheme)
}

async fn open<D: Driver>(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Sql<D>, ConnectError> {
    let target = D::Target::parse(url, password)?;
    let connection = D::dial(&target, options.timeout).await?;
    Ok(Sql {
        pool: Pool::new(target, connection, options.timeout),
    })
}

/// An engine on a server that speaks SQL.
pub(crate) struct Sql<D: Driver> {
    pool: Pool<D>,
}

/// How statements are run.
#[derive(Clone, Copy)]
enum How {
    /// Each for itself.
    Apart,
    /// In one transaction.
    Together,
}

impl<D: Driver> Sql<D> {
    /// Runs statements once, until the deadline.
    async fn once(
        &self,
        terms: Terms,
        how: How,
        statements: &[Statement],
    ) -> Result<Vec<Rows>, Failure> {
        let mut loan = self.pool.get(terms).await.map_err(Failure::Final)?;
        let connection = &mut loan.connection;
        let work = async {
            match how {
                How::Apart => connection.run(statements).await,
                How::Together => {
                    let patience = terms.deadline.saturating_duration_since(Instant::now());
                    connection.commit(statements, patience).await
                }
            }
        };
        self.finish(work_until(terms, work).await, loan)
    }

    /// Gives the connection back, unless it is of no more use.
    fn finish<T>(
        &self,
        outcome: Option<Result<T, Failure>>,
        loan: pool::Loan<'_, D>,
    ) -> Result<T, Failure> {
        match outcome {
            Some(Err(Failure::Lost(reason))) => {
                loan.lost(&reason);
                Err(Failure::Lost(reason))
            }
            Some(answer) => {
                loan.give_back();
                answer
            }
            // Nobody knows what still comes on it.
            None => Err(Failure::Final(Terms::timed_out(format!(
                "{} did not answer",
                self.pool.place()
            )))),
        }
    }

    /// Runs statements that may run twice, until they succeed or the deadline passes.
    async fn steady(
        &self,
        terms: Terms,
        how: How,
        statements: &[Statement],
    ) -> Result<Vec<Rows>, Failure> {
        let mut pause = Pause::default();
        loop {
            match self.once(terms, how, statements).await {
                Err(Failure::Lost(reason)) => {
                    pause.wait(terms, &reason).await.map_err(Failure::Final)?;
                }
                Err(Failure::Again(reason)) => pause
                    .yield_to_others(terms, &reason)
                    .await
                    .map_err(Failure::Final)?,
                other => return other,
            }
        }
    }

    /// The rows of one statement.
    async fn select(&self, terms: Terms, statement: Statement) -> Result<Rows> {
        let found = self.steady(terms, How::Apart, &[statement]).await;
        let mut found = found.map_err(|failure| self.error(failure))?;
        Ok(found.pop().unwrap_or_default())
    }

    /// What is left of a failure that no retry helped.
    fn error(&self, failure: Failure) -> Error {
        let io = |reason| Error::Io(format!("{}: {reason}", self.pool.place()));
        match failure {
            Failure::Final(error) => error,
            Failure::Unmet(Unmet::NoSpace) => Error::NoSpace,
            Failure::Unmet(Unmet::QuotaExceeded) => Error::QuotaExceeded,
            Failure::Unmet(Unmet::Changed) => io("a check failed".to_owned()),
            Failure::Lost(reason) | Failure::Again(reason) | Failure::NoTable(reason) => io(reason),
        }
    }

    /// Fetches what a run missed.
    async fn fetch(&self, terms: Terms, missing: Vec<Fetch>, known: &mut Known) -> Result<()> {
        let statements: Vec<_> = missing.iter().map(Fetch::select).collect();
        let found = match self.steady(terms, How::Apart, &statements).await {
            // Before the first format there is nothing at all.
            Err(Failure::NoTable(_)) if missing.contains(&Fetch::One(Item::Setting)) => {
                known.insert(Item::Setting, Vec::new());
                return Ok(());
            }
            other => other.map_err(|failure| self.error(failure))?,
        };
        for (fetch, rows) in missing.into_iter().zip(found) {
            fetch.learn(rows, known);
        }
        Ok(())
    }

    /// What applies a plan: locks and checks, then mutations.
    fn script<T: Recorded>(
        terms: Terms,
        planned: &Planned<T>,
        notes: &Notes,
        known: &Known,
    ) -> Result<Vec<Statement>> {
        let operation = terms.key.map(operation);
        let guards = operation
            .into_iter()
            .map(|item| (item, Guard::Whole))
            .chain(notes.guards.iter().cloned());
        let guards: Vec<_> = guards
            .map(|(item, guard)| {
                let rows = known.get(&item).cloned().unwrap_or_default();
                (item, guard, rows)
            })
            .collect();
        let absent: HashSet<_> = guards
            .iter()
            .filter(|(_, guard, rows)| *guard != Guard::Lock && rows.is_empty())
            .map(|(item, ..)| item.clone())
            .collect();
        let mut script = Script::new(&D::DIALECT, absent.clone());
        script.apply(&planned.mutations)?;
        if let Some(key) = terms.key {
            script.record(key, record::seal(key.sequence, &planned.answer));
        }
        let (mutations, unproved) = script.into_parts();
        let mut out = Vec::with_capacity(guards.len() + mutations.len());
        for (item, guard, rows) in guards {
            if !absent.contains(&item) || unproved.contains(&item) || guard == Guard::Lock {
                item.guard(&D::DIALECT, guard, &rows, &mut out);
            }
        }
        out.extend(mutations);
        Ok(out)
    }

    /// The answer that an operation gave before, if it was done.
    fn recorded<T: Recorded>(terms: Terms, known: &Known) -> Option<T> {
        let key = terms.key?;
        let row = known.get(&operation(key))?.first()?;
        record::unseal(key.sequence, rows::bytes(row, 0).ok()?)
    }

    /// Applies a plan that has mutations; `None` means: run it again.
    async fn apply<T: Recorded>(
        &self,
        terms: Terms,
        planned: Planned<T>,
        notes: &Notes,
        known: &Known,
        pause: &mut Pause,
    ) -> Result<Option<Planned<T>>> {
        let statements = Self::script(terms, &planned, notes, known)?;
        match self.once(terms, How::Together, &statements).await {
            Ok(_) => return Ok(Some(planned)),
            Err(Failure::Lost(reason)) => pause.wait(terms, &reason).await?,
            Err(Failure::Unmet(Unmet::Changed)) => {
                pause.yield_to_others(terms, CONTENDED).await?;
            }
            Err(Failure::Again(reason)) => pause.yield_to_others(terms, &reason).await?,
            Err(other) => return Err(self.error(other)),
        }
        Ok(None)
    }
}

fn operation(key: OpKey) -> Item {
    Item::Operation(key.session, key.slot)
}

async fn work_until<T>(terms: Terms, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(terms.deadline.into(), work)
        .await
        .ok()
}

impl<D: Driver> Engine for Sql<D> {
    fn name(&self) -> String {
        self.pool.place().to_owned()
    }

    async fn renew_login(&self, url: &str, password: Option<&Secret>) -> Result<(), RenewError> {
        let elsewhere = |named: String| RenewError::Elsewhere {
            place: self.pool.place().to_owned(),
            named,
        };
        if !is_of::<D>(url) {
            let (scheme, _) = url.split_once("://").unwrap_or_default();
            return Err(elsewhere(format!("{scheme}://")));
        }
        let target = D::Target::parse(url, password).map_err(RenewError::Unusable)?;
        if target.common().place != self.pool.place() {
            return Err(elsewhere(target.common().place.clone()));
        }
        self.pool.renew(target).await.map_err(RenewError::Pending)
    }

    /// Makes the tables that are not there: a login that may not make any can use a
    /// volume that has them.
    async fn prepare(&self, terms: Terms) -> Result<()> {
        let mut pause = Pause::default();
        loop {
            let names = self.pool.names();
            let schema = values![names.schema.as_deref().unwrap_or_default()];
            let list = Statement::new(D::LIST_TABLES, schema);
            let found = self.select(terms, list).await?;
            let found: HashSet<_> = found
                .iter()
                .map(|row| rows::text(row, 0))
                .collect::<Result<_>>()?;
            let statements: Vec<_> = D::TABLES
                .iter()
                .filter(|(table, _)| !found.contains(&names.table(table)))
                .flat_map(|(_, statements)| *statements)
                .map(|text| Statement::new(*text, Vec::new()).once())
                .collect();
            if statements.is_empty() {
                return Ok(());
            }
            // Another client may be making them, too.
            match self.once(terms, How::Apart, &statements).await {
                Ok(_) => return Ok(()),
                Err(Failure::Lost(reason) | Failure::Again(reason)) => {
                    pause.wait(terms, &reason).await?;
                }
                Err(other) => return Err(self.error(other)),
            }
        }
    }

    async fn transact<T: Recorded>(&self, terms: Terms, plan: PlanFn<T>) -> Result<Planned<T>> {
        let mut known = Known::new();
        let mut pause = Pause::default();
        loop {
            let (outcome, mut notes) = run(&known, &*plan);
            if let Some(key) = terms.key
                && !known.contains_key(&operation(key))
            {
                notes.missing.push(Fetch::One(operation(key)));
            }
            if !notes.missing.is_empty() {
                self.fetch(terms, notes.missing, &mut known).await?;
                if let Some(answer) = Self::recorded(terms, &known) {
                    return Ok(Planned {
                        answer,
                        mutations: Vec::new(),
                    });
                }
                continue;
            }
            match outcome {
                Ok(planned) if planned.mutations.is_empty() => return Ok(planned),
                Ok(planned) => {
                    let done = self.apply(terms, planned, &notes, &known, &mut pause);
                    if let Some(done) = done.await? {
                        return Ok(done);
                    }
                    known.clear();
                }
                Err(stop) => return Err(answer(stop)),
            }
        }
    }

    async fn read<T: Send + 'static>(&self, terms: Terms, look: ReadFn<T>) -> Result<T> {
        let mut known = Known::new();
        loop {
            let (outcome, missing) = {
                let view = View::new(&known);
                let outcome = look(&view);
                (outcome, view.into_notes().missing)
            };
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(Stop::Missing) => self.fetch(terms, missing, &mut known).await?,
                Err(stop) => return Err(answer(stop)),
            }
        }
    }

    async fn take_ids(&self, terms: Terms, counter: Counter, count: u64) -> Result<Range<u64>> {
        let statements = lists::take_ids(&D::DIALECT, counter, count);
        let found = self.steady(terms, How::Together, &statements).await;
        let found = found.map_err(|failure| self.error(failure))?;
        let row = found.last().and_then(|rows| rows.first());
        let damaged = || Error::Io(format!("the counter {} is damaged", counter.name()));
        let value = rows::unsigned(row.ok_or_else(damaged)?, 0)?;
        // nextInode and nextChunk hold the next id, the others the last one.
        let end = if matches!(counter, Counter::NextInode | Counter::NextChunk) {
            value
        } else {
            value + 1
        };
        Ok(end.saturating_sub(count)..end)
    }

    async fn scan_dir(
        &self,
        terms: Terms,
        dir: Ino,
        visit: &mut (dyn FnMut(RawEntry) + Send),
    ) -> Result<()> {
        let mut after = Vec::new();
        loop {
            let rows = self.select(terms, lists::entries(dir, &after)).await?;
            let is_last = rows.len() < lists::PAGE;
            for row in &rows {
                visit(lists::raw_entry(row)?);
            }
            match rows.last() {
                Some(row) if !is_last => after = rows::bytes(row, 0)?.to_vec(),
                _ => return Ok(()),
            }
        }
    }

    async fn nodes(&self, terms: Terms, inos: &[Ino]) -> Result<Vec<Option<Attr>>> {
        let mut found = std::collections::HashMap::new();
        for some in inos.chunks(lists::PAGE) {
            for row in self.select(terms, lists::nodes(some)).await? {
                let ino = Ino(rows::unsigned(&row, item::NODE_COLUMNS.len())?);
                found.insert(ino, rows::attr(&row)?);
            }
        }
        Ok(inos.iter().map(|ino| found.get(ino).cloned()).collect())
    }

    async fn chunks(&self, terms: Terms, ino: Ino, _length: u64) -> Result<Vec<u32>> {
        let text = "SELECT indx FROM jfs_chunk WHERE inode = ?";
        let rows = self
            .select(terms, Statement::new(text, values![ino]))
            .await?;
        rows.iter()
            .map(|row| rows::int(row, 0).map(|index| index as u32))
            .collect()
    }

    async fn scan_chunks(
        &self,
        patience: Duration,
        visit: &mut (dyn FnMut(ChunkRecord) + Send),
    ) -> Result<()> {
        self.scan(patience, visit).await
    }

    async fn sessions(&self, terms: Terms) -> Result<Vec<SessionRecord>> {
        let text = "SELECT sid, expire, info FROM jfs_session2 ORDER BY sid";
        let rows = self.select(terms, Statement::new(text, Vec::new())).await?;
        rows.iter().map(lists::session).collect()
    }

    async fn sustained(&self, terms: Terms, session: SessionId) -> Result<Vec<Ino>> {
        let text = "SELECT inode FROM jfs_sustained WHERE sid = ?";
        lists::inos(
            &self
                .select(terms, Statement::new(text, values![session]))
                .await?,
        )
    }

    async fn quotas(&self, terms: Terms) -> Result<Vec<Ino>> {
        let text = "SELECT inode FROM jfs_dir_quota";
        lists::inos(&self.select(terms, Statement::new(text, Vec::new())).await?)
    }

    async fn deleted(&self, terms: Terms, before: i64, limit: usize) -> Result<Vec<Deleted>> {
        let text = "SELECT inode, length FROM jfs_delfile WHERE expire < ? LIMIT ?";
        let statement = Statement::new(text, values![before, limit as i64]);
        let rows = self.select(terms, statement).await?;
        rows.iter().map(lists::deleted).collect()
    }

    async fn delayed(&self, terms: Terms, before: i64, limit: usize) -> Result<Vec<Delayed>> {
        let text = "SELECT chunkid, deleted, slices FROM jfs_delslices WHERE deleted < ? LIMIT ?";
        let statement = Statement::new(text, values![before, limit as i64]);
        let rows = self.select(terms, statement).await?;
        rows.iter().map(lists::delayed).collect()
    }

    async fn dead_slices(&self, terms: Terms, limit: usize) -> Result<Vec<(SliceId, u32)>> {
        let text = "SELECT chunkid, size FROM jfs_chunk_ref WHERE refs <= 0 LIMIT ?";
        let statement = Statement::new(text, values![limit as i64]);
        let rows = self.select(terms, statement).await?;
        rows.iter()
            .map(|row| Ok((SliceId(rows::unsigned(row, 0)?), rows::int(row, 1)? as u32)))
            .collect()
    }

    async fn volumes(
        &self,
        terms: Terms,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<VolumeRecord>> {
        let text = "SELECT record FROM carafe_volume WHERE id > ? ORDER BY id LIMIT ?";
        let after = Value::from(after.as_deref().unwrap_or_default());
        let statement = Statement::new(text, vec![after, Value::Int(limit as i64)]);
        let rows = self.select(terms, statement).await?;
        rows.iter().map(view::volume).collect()
    }

    async fn acl(&self, terms: Terms, number: u32) -> Result<Option<Acl>> {
        let found = self
            .select(terms, acls::select(&D::DIALECT, number))
            .await?;
        found.first().map(acls::list).transpose()
    }

    async fn acl_number(&self, terms: Terms, list: Acl) -> Result<u32> {
        let find = || acls::find(&D::DIALECT, &list);
        if let Some(row) = self.select(terms, find()).await?.first() {
            return acls::number(row);
        }
        let statements = [acls::add(&D::DIALECT, &list), find()];
        let added = self.steady(terms, How::Together, &statements).await;
        let added = added.map_err(|failure| self.error(failure))?;
        let row = added.last().and_then(|rows| rows.first());
        let lost = || Error::Io("an access control list that was added is not there".into());
        acls::number(row.ok_or_else(lost)?)
    }

    async fn sync(&self, terms: Terms) -> Result<()> {
        let mut pause = Pause::default();
        loop {
            let mut loan = self.pool.get(terms).await?;
            let flushed = work_until(terms, D::flush(&mut loan.connection)).await;
            match self.finish(flushed, loan) {
                Err(Failure::Lost(reason)) => pause.wait(terms, &reason).await?,
                other => return other.map_err(|failure| self.error(failure)),
            }
        }
    }

    async fn preflight(&self, terms: Terms) -> Result<Vec<String>> {
        let mut loan = self.pool.get(terms).await?;
        let warnings = work_until(terms, D::preflight(&mut loan.connection)).await;
        self.finish(warnings, loan)
            .map_err(|failure| self.error(failure))
    }
}

fn run<T>(
    known: &Known,
    plan: &(dyn Fn(&dyn crate::ops::Reads) -> Plan<T> + Send + Sync),
) -> (Plan<T>, Notes) {
    let view = View::new(known);
    let outcome = plan(&view);
    (outcome, view.into_notes())
}

fn answer(stop: Stop) -> Error {
    match stop {
        Stop::Answer(error) => error,
        Stop::Missing => Error::Io("a read was not answered".into()),
    }
}
