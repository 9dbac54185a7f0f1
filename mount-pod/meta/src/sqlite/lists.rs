//! Lists that are no part of a plan.

use carafe_types::{Acl, Ino, SessionId, SliceId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Result, Row};

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

/// An access control list. The peer leaves out blobs that are empty.
pub(super) fn acl(conn: &Connection, number: u32) -> Result<Option<Acl>> {
    let sql = "SELECT owner, `group`, mask, other, coalesce(named_users, x''), coalesce(named_groups, x'') \
               FROM jfs_acl WHERE id = ?1";
    let list = |row: &Row<'_>| {
        Ok(Acl {
            owner: row.get(0)?,
            group: row.get(1)?,
            mask: Acl::mask_from_raw(row.get(2)?),
            other: row.get(3)?,
            users: Acl::decode_named(&rows::bytes(row, 4)?),
            groups: Acl::decode_named(&rows::bytes(row, 5)?),
        })
    };
    conn.prepare_cached(sql)?
        .query_row([number], list)
        .optional()
}

/// Its number; it is put on record if it is not.
pub(super) fn acl_number(conn: &Connection, list: &Acl) -> Result<u32> {
    let find = "SELECT id FROM jfs_acl WHERE owner = ?1 AND `group` = ?2 AND mask = ?3 AND other = ?4 \
                AND coalesce(named_users, x'') = ?5 AND coalesce(named_groups, x'') = ?6 LIMIT 1";
    let add = "INSERT INTO jfs_acl (owner, `group`, mask, other, named_users, named_groups) \
               VALUES (?1, ?2, ?3, ?4, nullif(?5, x''), nullif(?6, x'')) RETURNING id";
    let columns = (
        list.owner,
        list.group,
        list.raw_mask(),
        list.other,
        Acl::encode_named(&list.users),
        Acl::encode_named(&list.groups),
    );
    let number = |row: &Row<'_>| row.get(0);
    let found = conn
        .prepare_cached(find)?
        .query_row(columns.clone(), number)
        .optional()?;
    match found {
        Some(found) => Ok(found),
        None => conn.prepare_cached(add)?.query_row(columns, number),
    }
}
