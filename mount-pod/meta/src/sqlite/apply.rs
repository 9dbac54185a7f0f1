//! Mutations as statements.

use carafe_types::{Attr, Error, Ino, Result, SLICE_RECORD_LEN, Slice};
use rusqlite::{Connection, Params, named_params};

use super::{
    reads::TextBytes,
    rows::{self, failed},
};
use crate::ops::{Counter, Mutation};

/// Applies one mutation inside the transaction that is open.
pub(super) fn apply(conn: &Connection, mutation: &Mutation) -> Result<()> {
    match mutation {
        Mutation::SetSetting { .. }
        | Mutation::InitCounters
        | Mutation::SetCounter { .. }
        | Mutation::SetSession { .. }
        | Mutation::ExtendSession { .. }
        | Mutation::DropSession { .. }
        | Mutation::SetVolume { .. }
        | Mutation::DropVolume { .. } => apply_book(conn, mutation),
        Mutation::NewNode { .. }
        | Mutation::SetNode { .. }
        | Mutation::DropNode { .. }
        | Mutation::TouchDir { .. }
        | Mutation::SetEntry { .. }
        | Mutation::DropEntry { .. }
        | Mutation::CountParent { .. }
        | Mutation::DropParents { .. }
        | Mutation::SetSymlink { .. }
        | Mutation::DropSymlink { .. }
        | Mutation::SetXattr { .. }
        | Mutation::DropXattr { .. }
        | Mutation::DropXattrs { .. } => apply_name(conn, mutation),
        Mutation::AppendSlice { .. }
        | Mutation::ReplaceSlices { .. }
        | Mutation::ZeroChunks { .. }
        | Mutation::NewSlice { .. }
        | Mutation::RefSlice { .. }
        | Mutation::DropSlice { .. }
        | Mutation::DropChunk { .. }
        | Mutation::AddDelayed { .. }
        | Mutation::DropDelayed { .. }
        | Mutation::Sustain { .. }
        | Mutation::Unsustain { .. }
        | Mutation::AddDeleted { .. }
        | Mutation::DropDeleted { .. } => apply_data(conn, mutation),
        Mutation::InitDirStat { .. }
        | Mutation::DirStat { .. }
        | Mutation::DropDirStat { .. }
        | Mutation::Use { .. }
        | Mutation::UseQuota { .. }
        | Mutation::SetQuota { .. }
        | Mutation::DropQuota { .. } => apply_usage(conn, mutation),
        Mutation::SetFlock { .. }
        | Mutation::DropFlock { .. }
        | Mutation::SetPlock { .. }
        | Mutation::DropPlock { .. } => apply_lock(conn, mutation),
    }
}

fn run(conn: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    conn.prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params))
        .map_err(failed)
}

fn done(conn: &Connection, sql: &str, params: impl Params) -> Result<()> {
    run(conn, sql, params).map(|_| ())
}

fn apply_book(conn: &Connection, mutation: &Mutation) -> Result<()> {
    match mutation {
        Mutation::SetSetting { json } => done(
            conn,
            "INSERT OR REPLACE INTO jfs_setting (name, value) VALUES ('format', ?1)",
            [json],
        ),
        Mutation::InitCounters => init_counters(conn),
        Mutation::SetCounter { counter, value } => done(
            conn,
            "INSERT OR REPLACE INTO jfs_counter (name, value) VALUES (?1, ?2)",
            (counter.name(), value),
        ),
        Mutation::SetSession {
            session,
            expires,
            info,
        } => {
            let sql = "INSERT OR REPLACE INTO jfs_session2 (sid, expire, info) VALUES (?1, ?2, ?3)";
            done(conn, sql, (session.0 as i64, expires, info.as_bytes()))
        }
        Mutation::ExtendSession { session, expires } => done(
            conn,
            "UPDATE jfs_session2 SET expire = ?2 WHERE sid = ?1",
            (session.0 as i64, expires),
        ),
        Mutation::DropSession { session } => drop_session(conn, session.0 as i64),
        Mutation::SetVolume { record } => {
            let json =
                serde_json::to_string(record).map_err(|error| Error::Io(error.to_string()))?;
            let sql = "INSERT OR REPLACE INTO carafe_volume (id, path, record) VALUES (?1, ?2, ?3)";
            done(conn, sql, (&record.id, &record.path, json))
        }
        Mutation::DropVolume { record } => done(
            conn,
            "DELETE FROM carafe_volume WHERE id = ?1",
            [&record.id],
        ),
        _ => Ok(()),
    }
}

/// `nextInode` and `nextChunk` hold the next id here, the others the last one.
fn init_counters(conn: &Connection) -> Result<()> {
    let start = [
        ("nextInode", 2),
        ("nextChunk", 1),
        ("nextSession", 0),
        ("usedSpace", 0),
        ("totalInodes", 0),
        ("nextCleanupSlices", 0),
    ];
    for (name, value) in start {
        done(
            conn,
            "INSERT OR IGNORE INTO jfs_counter (name, value) VALUES (?1, ?2)",
            (name, value),
        )?;
    }
    Ok(())
}

fn drop_session(conn: &Connection, session: i64) -> Result<()> {
    for sql in [
        "DELETE FROM jfs_flock WHERE sid = ?1",
        "DELETE FROM jfs_plock WHERE sid = ?1",
        "DELETE FROM jfs_sustained WHERE sid = ?1",
        "DELETE FROM jfs_session2 WHERE sid = ?1",
        "DELETE FROM carafe_op WHERE session = ?1",
    ] {
        done(conn, sql, [session])?;
    }
    Ok(())
}

fn apply_name(conn: &Connection, mutation: &Mutation) -> Result<()> {
    match mutation {
        Mutation::NewNode { ino, attr } => write_node(conn, INSERT_NODE, *ino, attr),
        Mutation::SetNode { ino, attr } => write_node(conn, UPDATE_NODE, *ino, attr),
        Mutation::DropNode { ino } => done(
            conn,
            "DELETE FROM jfs_node WHERE inode = ?1",
            [ino.0 as i64],
        ),
        Mutation::TouchDir { ino, nlink, time } => {
            let (micros, rest) = time.to_micros();
            let sql = "UPDATE jfs_node SET nlink = nlink + ?2, mtime = ?3, ctime = ?3, mtimensec = ?4, ctimensec = ?4 \
                       WHERE inode = ?1";
            done(conn, sql, (ino.0 as i64, nlink, micros, rest))
        }
        Mutation::SetEntry {
            parent,
            name,
            kind,
            ino,
        } => {
            let sql = "INSERT INTO jfs_edge (parent, name, inode, type) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT (parent, name) DO UPDATE SET inode = excluded.inode, type = excluded.type";
            done(
                conn,
                sql,
                (parent.0 as i64, name, ino.0 as i64, *kind as i64),
            )
        }
        Mutation::DropEntry { parent, name } => done(
            conn,
            "DELETE FROM jfs_edge WHERE parent = ?1 AND name = ?2",
            (parent.0 as i64, name),
        ),
        Mutation::SetSymlink { ino, target } => done(
            conn,
            "INSERT OR REPLACE INTO jfs_symlink (inode, target) VALUES (?1, ?2)",
            (ino.0 as i64, target),
        ),
        Mutation::DropSymlink { ino } => done(
            conn,
            "DELETE FROM jfs_symlink WHERE inode = ?1",
            [ino.0 as i64],
        ),
        Mutation::SetXattr { ino, name, value } => {
            let sql = "INSERT INTO jfs_xattr (inode, name, value) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (inode, name) DO UPDATE SET value = excluded.value";
            done(conn, sql, (ino.0 as i64, TextBytes(name), value))
        }
        Mutation::DropXattr { ino, name } => done(
            conn,
            "DELETE FROM jfs_xattr WHERE inode = ?1 AND name = ?2",
            (ino.0 as i64, TextBytes(name)),
        ),
        Mutation::DropXattrs { ino } => done(
            conn,
            "DELETE FROM jfs_xattr WHERE inode = ?1",
            [ino.0 as i64],
        ),
        // CountParent and DropParents: the entries' index by inode answers that.
        _ => Ok(()),
    }
}

const INSERT_NODE: &str = "INSERT INTO jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec, \
     ctimensec, nlink, length, rdev, parent, access_acl_id, default_acl_id) VALUES (:inode, :type, :flags, :mode, :uid, :gid, \
     :atime, :mtime, :ctime, :atimensec, :mtimensec, :ctimensec, :nlink, :length, :rdev, :parent, :access, :default)";

const UPDATE_NODE: &str = "UPDATE jfs_node SET type = :type, flags = :flags, mode = :mode, uid = :uid, gid = :gid, atime = :atime, \
     mtime = :mtime, ctime = :ctime, atimensec = :atimensec, mtimensec = :mtimensec, ctimensec = :ctimensec, nlink = :nlink, \
     length = :length, rdev = :rdev, parent = :parent, access_acl_id = :access, default_acl_id = :default WHERE inode = :inode";

fn write_node(conn: &Connection, sql: &str, ino: Ino, attr: &Attr) -> Result<()> {
    let [atime, mtime, ctime] =
        [attr.atime, attr.mtime, attr.ctime].map(carafe_types::Timestamp::to_micros);
    let params = named_params! {
        ":inode": ino.0 as i64, ":type": attr.kind as i64, ":flags": attr.flags, ":mode": attr.mode, ":uid": attr.uid,
        ":gid": attr.gid, ":atime": atime.0, ":mtime": mtime.0, ":ctime": ctime.0, ":atimensec": atime.1,
        ":mtimensec": mtime.1, ":ctimensec": ctime.1, ":nlink": attr.nlink, ":length": attr.length as i64,
        ":rdev": attr.rdev, ":parent": attr.parent.0 as i64, ":access": attr.access_acl, ":default": attr.default_acl,
    };
    done(conn, sql, params)
}

fn apply_data(conn: &Connection, mutation: &Mutation) -> Result<()> {
    match mutation {
        Mutation::AppendSlice { ino, index, slice } => {
            let sql = "INSERT INTO jfs_chunk (inode, indx, slices) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (inode, indx) DO UPDATE SET slices = slices || excluded.slices";
            done(conn, sql, (ino.0 as i64, index, slice.encode()))
        }
        Mutation::ReplaceSlices {
            ino,
            index,
            count,
            by,
        } => replace_slices(conn, *ino, *index, *count, by),
        Mutation::ZeroChunks { ino, after, before } => {
            let hole = Slice::hole(0, carafe_types::CHUNK_SIZE as u32).encode();
            let sql = "UPDATE jfs_chunk SET slices = slices || ?4 WHERE inode = ?1 AND indx > ?2 AND indx < ?3";
            done(conn, sql, (ino.0 as i64, after, before, hole))
        }
        Mutation::NewSlice { id, size } => {
            let sql = "INSERT INTO jfs_chunk_ref (chunkid, size, refs) VALUES (?1, ?2, 1) \
                       ON CONFLICT (chunkid) DO UPDATE SET refs = refs + 1";
            done(conn, sql, (id.0 as i64, size))
        }
        Mutation::RefSlice { id, size, delta } => {
            let sql = "UPDATE jfs_chunk_ref SET refs = refs + ?3 WHERE chunkid = ?1 AND size = ?2";
            done(conn, sql, (id.0 as i64, size, delta))
        }
        Mutation::DropSlice { id, .. } => done(
            conn,
            "DELETE FROM jfs_chunk_ref WHERE chunkid = ?1",
            [id.0 as i64],
        ),
        Mutation::DropChunk { ino, index } => done(
            conn,
            "DELETE FROM jfs_chunk WHERE inode = ?1 AND indx = ?2",
            (ino.0 as i64, index),
        ),
        Mutation::AddDelayed { key, slices } => {
            let sql = "INSERT INTO jfs_delslices (chunkid, deleted, slices) VALUES (?1, ?2, ?3)";
            done(
                conn,
                sql,
                (key.id as i64, key.time, rows::delayed_list(slices)),
            )
        }
        Mutation::DropDelayed { key } => done(
            conn,
            "DELETE FROM jfs_delslices WHERE chunkid = ?1",
            [key.id as i64],
        ),
        Mutation::Sustain { session, ino } => {
            let sql = "INSERT OR IGNORE INTO jfs_sustained (sid, inode) VALUES (?1, ?2)";
            done(conn, sql, (session.0 as i64, ino.0 as i64))
        }
        Mutation::Unsustain { session, ino } => done(
            conn,
            "DELETE FROM jfs_sustained WHERE sid = ?1 AND inode = ?2",
            (session.0 as i64, ino.0 as i64),
        ),
        Mutation::AddDeleted { ino, length, time } => {
            let sql =
                "INSERT OR REPLACE INTO jfs_delfile (inode, length, expire) VALUES (?1, ?2, ?3)";
            done(conn, sql, (ino.0 as i64, *length as i64, time.secs))
        }
        Mutation::DropDeleted { ino, .. } => done(
            conn,
            "DELETE FROM jfs_delfile WHERE inode = ?1",
            [ino.0 as i64],
        ),
        _ => Ok(()),
    }
}

/// Cuts the list as bytes: SQL would cut a list that it holds as text at characters.
fn replace_slices(
    conn: &Connection,
    ino: Ino,
    index: u32,
    count: usize,
    by: &[Slice],
) -> Result<()> {
    let chunk = (ino.0 as i64, index);
    let sql = "SELECT slices FROM jfs_chunk WHERE inode = ?1 AND indx = ?2";
    let list = conn
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(chunk, |row| rows::bytes(row, 0)))
        .map_err(failed)?;
    let rest = list.get(count * SLICE_RECORD_LEN..).unwrap_or_default();
    let list: Vec<u8> = by
        .iter()
        .flat_map(Slice::encode)
        .chain(rest.iter().copied())
        .collect();
    let sql = "UPDATE jfs_chunk SET slices = ?3 WHERE inode = ?1 AND indx = ?2";
    done(conn, sql, (chunk.0, chunk.1, list))
}

fn apply_usage(conn: &Connection, mutation: &Mutation) -> Result<()> {
    match mutation {
        Mutation::InitDirStat { dir } => {
            let sql = "INSERT OR REPLACE INTO jfs_dir_stats (inode, data_length, used_space, used_inodes) VALUES (?1, 0, 0, 0)";
            done(conn, sql, [dir.0 as i64])
        }
        Mutation::DirStat {
            dir,
            length,
            space,
            inodes,
        } => {
            let sql = "UPDATE jfs_dir_stats SET data_length = data_length + ?2, used_space = used_space + ?3, \
                       used_inodes = used_inodes + ?4 WHERE inode = ?1";
            done(conn, sql, (dir.0 as i64, length, space, inodes))
        }
        Mutation::DropDirStat { dir } => done(
            conn,
            "DELETE FROM jfs_dir_stats WHERE inode = ?1",
            [dir.0 as i64],
        ),
        Mutation::Use {
            space,
            inodes,
            capacity,
            max_inodes,
        } => {
            add(conn, Counter::UsedSpace, *space, *capacity)?;
            add(conn, Counter::TotalInodes, *inodes, *max_inodes)
        }
        Mutation::UseQuota { dir, space, inodes } => use_quota(conn, *dir, *space, *inodes),
        Mutation::SetQuota { dir, quota, used } => {
            let sql = "INSERT INTO jfs_dir_quota (inode, max_space, max_inodes, used_space, used_inodes) VALUES (?1, ?2, ?3, ?4, ?5) \
                       ON CONFLICT (inode) DO UPDATE SET max_space = excluded.max_space, max_inodes = excluded.max_inodes";
            let (space, inodes) = used.unwrap_or_default();
            done(
                conn,
                sql,
                (
                    dir.0 as i64,
                    quota.max_bytes as i64,
                    quota.max_inodes as i64,
                    space,
                    inodes,
                ),
            )
        }
        Mutation::DropQuota { dir } => done(
            conn,
            "DELETE FROM jfs_dir_quota WHERE inode = ?1",
            [dir.0 as i64],
        ),
        _ => Ok(()),
    }
}

/// Adds to a counter, unless it grows above `limit`.
fn add(conn: &Connection, counter: Counter, delta: i64, limit: u64) -> Result<()> {
    if delta == 0 {
        return Ok(());
    }
    let limit = if delta > 0 && limit > 0 {
        limit.min(i64::MAX as u64) as i64
    } else {
        i64::MAX
    };
    let sql = "UPDATE jfs_counter SET value = value + ?2 WHERE name = ?1 AND value + ?2 <= ?3";
    if run(conn, sql, (counter.name(), delta, limit))? == 0 {
        Err(Error::NoSpace)
    } else {
        Ok(())
    }
}

fn use_quota(conn: &Connection, dir: Ino, space: i64, inodes: i64) -> Result<()> {
    let sql = "UPDATE jfs_dir_quota SET used_space = used_space + ?2, used_inodes = used_inodes + ?3 WHERE inode = ?1 \
               RETURNING (?2 > 0 AND max_space > 0 AND used_space > max_space) \
               OR (?3 > 0 AND max_inodes > 0 AND used_inodes > max_inodes)";
    let over = conn.prepare_cached(sql).and_then(|mut statement| {
        let mut rows = statement.query((dir.0 as i64, space, inodes))?;
        let over = rows.next()?.map(|row| row.get::<_, bool>(0)).transpose()?;
        while rows.next()?.is_some() {}
        Ok(over.unwrap_or(false))
    });
    if over.map_err(failed)? {
        Err(Error::QuotaExceeded)
    } else {
        Ok(())
    }
}

fn apply_lock(conn: &Connection, mutation: &Mutation) -> Result<()> {
    match mutation {
        Mutation::SetFlock {
            ino,
            session,
            owner,
            write,
        } => {
            let sql = "INSERT INTO jfs_flock (inode, sid, owner, ltype) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT (inode, sid, owner) DO UPDATE SET ltype = excluded.ltype";
            let ltype = i64::from(if *write { b'W' } else { b'R' });
            done(
                conn,
                sql,
                (ino.0 as i64, session.0 as i64, *owner as i64, ltype),
            )
        }
        Mutation::DropFlock {
            ino,
            session,
            owner,
        } => {
            let sql = "DELETE FROM jfs_flock WHERE inode = ?1 AND sid = ?2 AND owner = ?3";
            done(conn, sql, (ino.0 as i64, session.0 as i64, *owner as i64))
        }
        Mutation::SetPlock {
            ino,
            session,
            owner,
            records,
        } => {
            let sql = "INSERT INTO jfs_plock (inode, sid, owner, records) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT (inode, sid, owner) DO UPDATE SET records = excluded.records";
            done(
                conn,
                sql,
                (ino.0 as i64, session.0 as i64, *owner as i64, records),
            )
        }
        Mutation::DropPlock {
            ino,
            session,
            owner,
        } => {
            let sql = "DELETE FROM jfs_plock WHERE inode = ?1 AND sid = ?2 AND owner = ?3";
            done(conn, sql, (ino.0 as i64, session.0 as i64, *owner as i64))
        }
        _ => Ok(()),
    }
}
