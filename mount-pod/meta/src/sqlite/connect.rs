//! Opening the database.
//!
//! WAL, as the peer opens it, so that readers and the one writer do not wait for
//! each other. `synchronous` is NORMAL: a commit is ordered but not flushed, as an
//! ordinary file system's metadata, and `sync` flushes the log; a crash of the
//! process loses nothing, a power failure at most what no fsync confirmed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use carafe_types::{Error, Result};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};

use super::{Sqlite, rows::failed, writer::Writer};
use crate::{Admin, ConnectError, client::Client};

/// Connections for reading: more would only wait for the same two cores.
const READERS: usize = 3;
/// How long SQLite itself waits for another process before it says so.
const BUSY: Duration = Duration::from_secs(5);
/// The writer waits in short steps, to look at its jobs' deadlines between them.
const WRITER_BUSY: Duration = Duration::from_millis(200);

/// A client of the file that is named behind `sqlite3://`.
pub(crate) fn connect(rest: &str) -> std::result::Result<Arc<dyn Admin>, ConnectError> {
    let path = path_of(rest);
    if path.is_empty() {
        return Err(ConnectError::BadUrl(
            "sqlite3:// wants a file: sqlite3:///var/lib/volume.db".into(),
        ));
    }
    let unreachable = |error: Error| ConnectError::Unreachable {
        place: path.to_owned(),
        reason: error.to_string(),
    };
    let engine = open(Path::new(path)).map_err(unreachable)?;
    Ok(Arc::new(Client::new(engine)))
}

/// The file in what follows `sqlite3://`.
pub(super) fn path_of(rest: &str) -> &str {
    rest.split('?').next().unwrap_or_default()
}

/// Opens (and makes) the database file.
pub(crate) fn open(path: &Path) -> Result<Sqlite> {
    let writer = connection(path, WRITER_BUSY, -4000)?;
    let mode: String = writer
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(failed)?;
    // A checkpoint flushes twice: let the log grow to 32 MiB before the writer pays.
    writer
        .pragma_update(None, "wal_autocheckpoint", 8192)
        .map_err(failed)?;
    if !mode.eq_ignore_ascii_case("wal") {
        tracing::warn!(
            "sqlite journal mode is {mode}, not WAL: writers and readers will wait for each other"
        );
    }
    let readers = (0..READERS)
        .map(|_| connection(path, BUSY, -1000).map(Mutex::new))
        .collect::<Result<_>>()?;
    let writer = Writer::start(writer)
        .map_err(|error| carafe_types::Error::Io(format!("no thread: {error}")))?;
    Ok(Sqlite {
        path: path.to_owned(),
        log: log_path(path),
        writer,
        readers,
        flushed: tokio::sync::Mutex::default(),
    })
}

fn connection(path: &Path, busy: Duration, cache: i64) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.busy_timeout(busy).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(128);
    conn.pragma_update(None, "synchronous", "NORMAL")
        .map_err(failed)?;
    conn.pragma_update(None, "cache_size", cache)
        .map_err(failed)?;
    conn.pragma_update(None, "temp_store", "MEMORY")
        .map_err(failed)?;
    Ok(conn)
}

/// A connection that reads one state of the database for as long as it is open; with a
/// journal of another kind than WAL writers would have to wait for it, and it reads what
/// is there.
pub(super) fn one_state(path: &Path) -> Result<Connection> {
    let conn = connection(path, BUSY, -1000)?;
    let mode: String = conn
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .map_err(failed)?;
    if mode.eq_ignore_ascii_case("wal") {
        conn.execute_batch("BEGIN").map_err(failed)?;
    }
    Ok(conn)
}

fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}
