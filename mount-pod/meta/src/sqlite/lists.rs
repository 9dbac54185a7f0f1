//! Lists that are no part of a plan.

use carafe_types::{Ino, SessionId, SliceId, Timestamp};
use rusqlite::{Connection, Result, Row};

use super::rows;
use crate::{
    SessionRecord,
    engine::{Delayed, Deleted, RawEntry},
    ops::DelayedKey,
};

pub(super) fn scan_dir(
    conn: &Connection,
    dir: Ino,
    visit: &mut (dyn FnMut(RawEntry) + Send),
) -> Result<()> {
    let mut statement =
        conn.prepare_cached("SELECT name, inode, type FROM jfs_edge WHERE parent = ?1")?;
    let mut found = statement.query([dir.0 as i64])?;
    while let Some(row) = found.next()? {
        visit(RawEntry {
            name: rows::bytes(row, 0)?,
            ino: Ino(rows::unsigned(row, 1)?),
            kind: rows::kind(row, 2)?,
        });
    }
    Ok(())
}

fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    map: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    conn.prepare_cached(sql)?.query_map(params, map)?.collect()
}

pub(super) fn chunks(conn: &Connection, ino: Ino) -> Result<Vec<u32>> {
    all(
        conn,
        "SELECT indx FROM jfs_chunk WHERE inode = ?1",
        [ino.0 as i64],
        |row| row.get(0),
    )
}

/// A chunk's row: number, inode, index, list.
type ChunkRow = (i64, Ino, u32, Vec<u8>);

/// Chunks behind a row's number. Numbers are never used
/// twice and grow, so that a scan meets what is made while it goes on.
pub(super) fn chunk_page(conn: &Connection, after: i64) -> Result<Vec<ChunkRow>> {
    let sql = "SELECT id, inode, indx, slices FROM jfs_chunk WHERE id > ?1 ORDER BY id LIMIT 1000";
    all(conn, sql, [after], |row| {
        let ino = Ino(rows::unsigned(row, 1)?);
        Ok((row.get(0)?, ino, row.get(2)?, rows::bytes(row, 3)?))
    })
}

pub(super) fn sessions(conn: &Connection) -> Result<Vec<SessionRecord>> {
    all(
        conn,
        "SELECT sid, expire, info FROM jfs_session2 ORDER BY sid",
        [],
        |row| {
            Ok(SessionRecord {
                id: SessionId(rows::unsigned(row, 0)?),
                expires: Timestamp {
                    secs: row.get(1)?,
                    nanos: 0,
                },
                info: serde_json::from_slice(&rows::bytes(row, 2)?).ok(),
            })
        },
    )
}

pub(super) fn sustained(conn: &Connection, session: SessionId) -> Result<Vec<Ino>> {
    all(
        conn,
        "SELECT inode FROM jfs_sustained WHERE sid = ?1",
        [session.0 as i64],
        |row| rows::unsigned(row, 0).map(Ino),
    )
}

pub(super) fn quotas(conn: &Connection) -> Result<Vec<Ino>> {
    all(conn, "SELECT inode FROM jfs_dir_quota", [], |row| {
        rows::unsigned(row, 0).map(Ino)
    })
}

pub(super) fn deleted(conn: &Connection, before: i64, limit: usize) -> Result<Vec<Deleted>> {
    let sql = "SELECT inode, length FROM jfs_delfile WHERE expire < ?1 LIMIT ?2";
    all(conn, sql, (before, limit as i64), |row| {
        Ok(Deleted {
            ino: Ino(rows::unsigned(row, 0)?),
            length: rows::unsigned(row, 1)?,
        })
    })
}

pub(super) fn delayed(conn: &Connection, before: i64, limit: usize) -> Result<Vec<Delayed>> {
    let sql = "SELECT chunkid, deleted, slices FROM jfs_delslices WHERE deleted < ?1 LIMIT ?2";
    all(conn, sql, (before, limit as i64), |row| {
        let key = DelayedKey {
            id: rows::unsigned(row, 0)?,
            time: row.get(1)?,
        };
        Ok(Delayed {
            key,
            slices: rows::delayed_slices(&rows::bytes(row, 2)?),
        })
    })
}

pub(super) fn dead_slices(conn: &Connection, limit: usize) -> Result<Vec<(SliceId, u32)>> {
    let sql = "SELECT chunkid, size FROM jfs_chunk_ref WHERE refs <= 0 LIMIT ?1";
    all(conn, sql, [limit as i64], |row| {
        Ok((SliceId(rows::unsigned(row, 0)?), row.get(1)?))
    })
}

pub(super) fn volumes(conn: &Connection, after: &str, limit: usize) -> Result<Vec<String>> {
    let sql = "SELECT record FROM carafe_volume WHERE id > ?1 ORDER BY id LIMIT ?2";
    all(conn, sql, (after, limit as i64), |row| row.get(0))
}
