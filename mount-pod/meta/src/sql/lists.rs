//! Lists that are no part of a plan.

use carafe_types::{Error, Ino, Result, SessionId, Slice, Timestamp};

use super::{
    rows,
    statement::{Dialect, Row, Rows, Statement, values},
};
use crate::{
    ChunkRecord, SessionRecord,
    engine::{Delayed, Deleted, RawEntry},
    ops::{Counter, DelayedKey},
    sqlite::rows::delayed_slices,
};

/// Rows of one answer: a big directory must not lie in memory as a whole.
pub(super) const PAGE: usize = 4096;
/// The same of chunks, whose lists may be long.
pub(super) const CHUNKS: usize = 500;

/// Adds to a counter and looks at it, in one transaction.
pub(super) fn take_ids(dialect: &Dialect, counter: Counter, count: u64) -> [Statement; 2] {
    let update = (dialect.or_update)("name");
    let excluded = (dialect.excluded)("value");
    let take = format!(
        "INSERT INTO jfs_counter (name, value) VALUES (?, ?){update}value = jfs_counter.value + {excluded}"
    );
    let look = "SELECT value FROM jfs_counter WHERE name = ?";
    [
        Statement::new(take, values![counter.name(), count]),
        Statement::new(look, values![counter.name()]),
    ]
}

/// A page of a directory's entries behind a name.
pub(super) fn entries(dir: Ino, after: &[u8]) -> Statement {
    let text = "SELECT name, inode, type FROM jfs_edge WHERE parent = ? AND name > ? ORDER BY name LIMIT ?";
    Statement::new(text, values![dir, after.to_vec(), PAGE as i64])
}

/// An entry of such a page.
pub(super) fn raw_entry(row: &Row) -> Result<RawEntry> {
    Ok(RawEntry {
        name: rows::bytes(row, 0)?.to_vec(),
        ino: Ino(rows::unsigned(row, 1)?),
        kind: rows::kind(row, 2)?,
    })
}

/// A page of all chunks behind a row's number, which only grows.
pub(super) fn all_chunks(after: i64) -> Statement {
    let text = "SELECT id, inode, indx, slices FROM jfs_chunk WHERE id > ? ORDER BY id LIMIT ?";
    Statement::new(text, values![after, CHUNKS as i64])
}

/// A chunk of such a page.
pub(super) fn chunk(row: &Row) -> Result<ChunkRecord> {
    let (ino, index) = (Ino(rows::unsigned(row, 1)?), rows::int(row, 2)? as u32);
    let torn = |error| Error::Io(format!("inode {ino}, chunk {index}: {error}"));
    let slices = Slice::decode_list(rows::bytes(row, 3)?).map_err(torn)?;
    Ok(ChunkRecord { ino, index, slices })
}

/// Inodes by number, the number behind their columns.
pub(super) fn nodes(inos: &[Ino]) -> Statement {
    let columns = super::item::NODE_COLUMNS.join(", ");
    let marks = vec!["?"; inos.len()].join(", ");
    let text = format!("SELECT {columns}, inode FROM jfs_node WHERE inode IN ({marks})");
    Statement::new(text, inos.iter().map(|ino| (*ino).into()).collect()).once()
}

/// A session.
pub(super) fn session(row: &Row) -> Result<SessionRecord> {
    Ok(SessionRecord {
        id: SessionId(rows::unsigned(row, 0)?),
        expires: Timestamp {
            secs: rows::int(row, 1)?,
            nanos: 0,
        },
        info: serde_json::from_slice(rows::bytes(row, 2)?).ok(),
    })
}

/// The inodes of rows of one column.
pub(super) fn inos(rows: &Rows) -> Result<Vec<Ino>> {
    rows.iter()
        .map(|row| rows::unsigned(row, 0).map(Ino))
        .collect()
}

/// A deleted file.
pub(super) fn deleted(row: &Row) -> Result<Deleted> {
    Ok(Deleted {
        ino: Ino(rows::unsigned(row, 0)?),
        length: rows::unsigned(row, 1)?,
    })
}

/// Slices that wait for the trash's time.
pub(super) fn delayed(row: &Row) -> Result<Delayed> {
    Ok(Delayed {
        key: DelayedKey {
            id: rows::unsigned(row, 0)?,
            time: rows::int(row, 1)?,
        },
        slices: delayed_slices(rows::bytes(row, 2)?),
    })
}
