//! SQLite: the embedded engine.
//!
//! Reads run at once on one of a few reader connections (they are served from
//! memory and never wait for the writer); plans run on the writer's thread inside
//! its transaction, so what they read cannot change under them.

mod apply;
mod connect;
mod lists;
mod reads;
pub(crate) mod rows;
mod schema;
mod writer;

use std::{
    fs::File,
    ops::Range,
    path::PathBuf,
    time::{Duration, Instant},
};

use carafe_types::{Acl, Attr, Error, Ino, Result, Secret, SessionId, Slice, SliceId};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OptionalExtension};

pub(crate) use connect::connect;
#[cfg(test)]
pub(crate) use connect::open;

use self::{reads::SqlReads, rows::failed, writer::Writer};
use crate::{
    ChunkRecord, OpKey, RenewError, SessionRecord, VolumeRecord,
    engine::{Delayed, Deleted, Engine, PlanFn, RawEntry, ReadFn, Terms},
    ops::{Counter, Planned, Stop},
    record::{self, Recorded},
};

/// The SQLite engine.
pub(crate) struct Sqlite {
    path: PathBuf,
    log: PathBuf,
    writer: Writer,
    readers: Vec<Mutex<Connection>>,
    /// When the log was last flushed, counted from the flush's start.
    flushed: tokio::sync::Mutex<Option<Instant>>,
}

impl Sqlite {
    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.readers
            .iter()
            .find_map(Mutex::try_lock)
            .unwrap_or_else(|| self.readers[0].lock())
    }

    fn look<T>(&self, look: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        look(&self.reader()).map_err(failed)
    }
}

/// SQL never lacks what a plan asks for.
fn answer(stop: Stop) -> Error {
    match stop {
        Stop::Answer(error) => error,
        Stop::Missing => Error::Io("a read was not answered".into()),
    }
}

fn attempt<T: Recorded>(
    conn: &Connection,
    key: Option<OpKey>,
    plan: &PlanFn<T>,
) -> Result<Planned<T>> {
    if let Some(answer) = key.map(|key| recorded(conn, key)).transpose()?.flatten() {
        return Ok(Planned {
            answer,
            mutations: Vec::new(),
        });
    }
    let planned = plan(&SqlReads(conn)).map_err(answer)?;
    for mutation in &planned.mutations {
        apply::apply(conn, mutation)?;
    }
    if let Some(key) = key.filter(|_| !planned.mutations.is_empty()) {
        let sql = "INSERT OR REPLACE INTO carafe_op (session, slot, record) VALUES (?1, ?2, ?3)";
        let record = record::seal(key.sequence, &planned.answer);
        let mut statement = conn.prepare_cached(sql).map_err(failed)?;
        statement
            .execute((key.session.0 as i64, key.slot, record))
            .map_err(failed)?;
    }
    Ok(planned)
}

fn recorded<T: Recorded>(conn: &Connection, key: OpKey) -> Result<Option<T>> {
    let sql = "SELECT record FROM carafe_op WHERE session = ?1 AND slot = ?2";
    let mut statement = conn.prepare_cached(sql).map_err(failed)?;
    let found: Option<Vec<u8>> = statement
        .query_row((key.session.0 as i64, key.slot), |row| row.get(0))
        .optional()
        .map_err(failed)?;
    Ok(found.and_then(|record| record::unseal(key.sequence, &record)))
}

impl Engine for Sqlite {
    fn name(&self) -> String {
        format!("sqlite3://{}", self.path.display())
    }

    /// A file has no login.
    async fn renew_login(&self, url: &str, _password: Option<&Secret>) -> Result<(), RenewError> {
        let path = url.strip_prefix("sqlite3://").map(connect::path_of);
        if path == self.path.to_str() {
            return Ok(());
        }
        let scheme = || url.split("://").next().unwrap_or_default();
        Err(RenewError::Elsewhere {
            place: self.name(),
            named: path.map_or_else(
                || format!("{}://", scheme()),
                |path| format!("sqlite3://{path}"),
            ),
        })
    }

    async fn prepare(&self, terms: Terms) -> Result<()> {
        let make = |conn: &Connection| {
            conn.execute_batch(schema::PEER)
                .and_then(|()| conn.execute_batch(schema::OURS))
        };
        self.writer
            .run(terms.deadline, move |conn| make(conn).map_err(failed))
            .await
    }

    async fn transact<T: Recorded>(&self, terms: Terms, plan: PlanFn<T>) -> Result<Planned<T>> {
        self.writer
            .run(terms.deadline, move |conn| attempt(conn, terms.key, &plan))
            .await
    }

    async fn read<T: Send + 'static>(&self, _terms: Terms, look: ReadFn<T>) -> Result<T> {
        look(&SqlReads(&self.reader())).map_err(answer)
    }

    async fn take_ids(&self, terms: Terms, counter: Counter, count: u64) -> Result<Range<u64>> {
        let sql = "INSERT INTO jfs_counter (name, value) VALUES (?1, ?2) \
                   ON CONFLICT (name) DO UPDATE SET value = value + excluded.value RETURNING value";
        let take = move |conn: &Connection| {
            conn.query_row(sql, (counter.name(), count as i64), |row| {
                row.get::<_, i64>(0)
            })
        };
        let value = self
            .writer
            .run(terms.deadline, move |conn| take(conn).map_err(failed))
            .await? as u64;
        // nextInode and nextChunk hold the next id, the others the last one.
        let end = if matches!(counter, Counter::NextInode | Counter::NextChunk) {
            value
        } else {
            value + 1
        };
        Ok(end - count..end)
    }

    async fn scan_dir(
        &self,
        _terms: Terms,
        dir: Ino,
        visit: &mut (dyn FnMut(RawEntry) + Send),
    ) -> Result<()> {
        self.look(|conn| lists::scan_dir(conn, dir, visit))
    }

    async fn nodes(&self, _terms: Terms, inos: &[Ino]) -> Result<Vec<Option<Attr>>> {
        let conn = self.reader();
        inos.iter()
            .map(|&ino| crate::ops::Reads::node(&SqlReads(&conn), ino).map_err(answer))
            .collect()
    }

    async fn chunks(&self, _terms: Terms, ino: Ino, _length: u64) -> Result<Vec<u32>> {
        self.look(|conn| lists::chunks(conn, ino))
    }

    async fn scan_chunks(
        &self,
        _patience: Duration,
        visit: &mut (dyn FnMut(ChunkRecord) + Send),
    ) -> Result<()> {
        let state = connect::one_state(&self.path)?;
        let mut after = 0;
        loop {
            let page = lists::chunk_page(&state, after).map_err(failed)?;
            let Some((last, ..)) = page.last() else {
                return Ok(());
            };
            after = *last;
            for (_, ino, index, list) in page {
                let torn = |error| Error::Io(format!("inode {ino}, chunk {index}: {error}"));
                let slices = Slice::decode_list(&list).map_err(torn)?;
                visit(ChunkRecord { ino, index, slices });
            }
            tokio::task::yield_now().await;
        }
    }

    async fn sessions(&self, _terms: Terms) -> Result<Vec<SessionRecord>> {
        self.look(lists::sessions)
    }

    async fn sustained(&self, _terms: Terms, session: SessionId) -> Result<Vec<Ino>> {
        self.look(|conn| lists::sustained(conn, session))
    }

    async fn quotas(&self, _terms: Terms) -> Result<Vec<Ino>> {
        self.look(lists::quotas)
    }

    async fn deleted(&self, _terms: Terms, before: i64, limit: usize) -> Result<Vec<Deleted>> {
        self.look(|conn| lists::deleted(conn, before, limit))
    }

    async fn delayed(&self, _terms: Terms, before: i64, limit: usize) -> Result<Vec<Delayed>> {
        self.look(|conn| lists::delayed(conn, before, limit))
    }

    async fn dead_slices(&self, _terms: Terms, limit: usize) -> Result<Vec<(SliceId, u32)>> {
        self.look(|conn| lists::dead_slices(conn, limit))
    }

    async fn volumes(
        &self,
        _terms: Terms,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<VolumeRecord>> {
        let jsons =
            self.look(|conn| lists::volumes(conn, after.as_deref().unwrap_or_default(), limit))?;
        jsons
            .iter()
            .map(|json| reads::parse_volume(json).map_err(answer))
            .collect()
    }

    async fn acl(&self, _terms: Terms, number: u32) -> Result<Option<Acl>> {
        self.look(|conn| lists::acl(conn, number))
    }

    async fn acl_number(&self, terms: Terms, list: Acl) -> Result<u32> {
        self.writer
            .run(terms.deadline, move |conn| {
                lists::acl_number(conn, &list).map_err(failed)
            })
            .await
    }

    async fn sync(&self, terms: Terms) -> Result<()> {
        let asked = Instant::now();
        let Ok(mut flushed) =
            tokio::time::timeout_at(terms.deadline.into(), self.flushed.lock()).await
        else {
            return Err(Terms::timed_out("flushing the sqlite log"));
        };
        if flushed.is_some_and(|at| at >= asked) {
            return Ok(()); // a flush that began after this call covers it
        }
        let (started, log) = (Instant::now(), self.log.clone());
        let flush = tokio::task::spawn_blocking(move || match File::open(log) {
            Ok(file) => file.sync_data(),
            // No log: a checkpoint has moved all of it into the database, and flushed that.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        });
        let io = |error: std::io::Error| Error::Io(format!("flushing the sqlite log: {error}"));
        flush
            .await
            .map_err(|error| Error::Io(error.to_string()))?
            .map_err(io)?;
        *flushed = Some(started);
        Ok(())
    }

    async fn preflight(&self, _terms: Terms) -> Result<Vec<String>> {
        let mode: String =
            self.look(|conn| conn.query_row("PRAGMA journal_mode", [], |row| row.get(0)))?;
        let wal = mode.eq_ignore_ascii_case("wal");
        let advice = || {
            format!(
                "the sqlite database is in journal mode {mode}, not WAL: put it on a local disk, since a network file system gives neither speed nor safety"
            )
        };
        Ok((!wal).then(advice).into_iter().collect())
    }
}
