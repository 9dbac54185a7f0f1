//! The database as a plan sees it.

use carafe_types::{Attr, Error, Ino, SessionId, Slice, SliceId};
use rusqlite::{
    Connection, OptionalExtension, Params, Row, ToSql, types::ToSqlOutput, types::ValueRef,
};

use super::{rows, schema::SELECT_NODE};
use crate::{
    DirStat, Quota, QuotaUsage, VolumeRecord,
    ops::{Counter, DelayedKey, Entry, FlockRow, PlockRow, Read, Reads, Stop},
};

/// Reads through one connection: inside a write transaction nothing changes
/// meanwhile, so guards need no doing.
pub(super) struct SqlReads<'a>(pub(super) &'a Connection);

/// Bytes bound as a text, whatever their encoding.
pub(super) struct TextBytes<'a>(pub(super) &'a [u8]);

impl ToSql for TextBytes<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

impl SqlReads<'_> {
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Read<Option<T>> {
        let found = self
            .0
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, map).optional());
        found.map_err(|error| rows::failed(error).into())
    }

    fn many<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Read<Vec<T>> {
        let all = || -> rusqlite::Result<Vec<T>> {
            self.0
                .prepare_cached(sql)?
                .query_map(params, map)?
                .collect()
        };
        all().map_err(|error| rows::failed(error).into())
    }
}

impl Reads for SqlReads<'_> {
    fn setting(&self) -> Read<Option<String>> {
        let found = self.one(
            "SELECT value FROM jfs_setting WHERE name = 'format'",
            [],
            |row| row.get(0),
        );
        match found {
            Err(Stop::Answer(Error::Io(text))) if text.contains("no such table") => Ok(None),
            other => other,
        }
    }

    fn node(&self, ino: Ino) -> Read<Option<Attr>> {
        self.one(SELECT_NODE, [ino.0 as i64], |row| rows::attr(row, 0))
    }

    fn dir(&self, ino: Ino) -> Read<Option<Attr>> {
        self.node(ino)
    }

    fn parent(&self, ino: Ino) -> Read<Option<Ino>> {
        self.one(
            "SELECT parent FROM jfs_node WHERE inode = ?1",
            [ino.0 as i64],
            |row| rows::unsigned(row, 0).map(Ino),
        )
    }

    fn entry(&self, parent: Ino, name: &[u8]) -> Read<Option<Entry>> {
        let sql = "SELECT type, inode FROM jfs_edge WHERE parent = ?1 AND name = ?2";
        self.one(sql, (parent.0 as i64, name), |row| {
            Ok(Entry {
                kind: rows::kind(row, 0)?,
                ino: Ino(rows::unsigned(row, 1)?),
            })
        })
    }

    fn has_entries(&self, ino: Ino) -> Read<bool> {
        let found = self.one(
            "SELECT 1 FROM jfs_edge WHERE parent = ?1 LIMIT 1",
            [ino.0 as i64],
            |_| Ok(()),
        )?;
        Ok(found.is_some())
    }

    fn parents(&self, ino: Ino) -> Read<Vec<(Ino, i64)>> {
        let sql = "SELECT parent, count(*) FROM jfs_edge WHERE inode = ?1 GROUP BY parent";
        self.many(sql, [ino.0 as i64], |row| {
            Ok((Ino(rows::unsigned(row, 0)?), row.get(1)?))
        })
    }

    fn symlink(&self, ino: Ino) -> Read<Option<Vec<u8>>> {
        self.one(
            "SELECT target FROM jfs_symlink WHERE inode = ?1",
            [ino.0 as i64],
            |row| rows::bytes(row, 0),
        )
    }

    fn xattr(&self, ino: Ino, name: &[u8]) -> Read<Option<Vec<u8>>> {
        let sql = "SELECT value FROM jfs_xattr WHERE inode = ?1 AND name = ?2";
        self.one(sql, (ino.0 as i64, TextBytes(name)), |row| {
            rows::bytes(row, 0)
        })
    }

    fn xattr_names(&self, ino: Ino) -> Read<Vec<Vec<u8>>> {
        self.many(
            "SELECT name FROM jfs_xattr WHERE inode = ?1",
            [ino.0 as i64],
            |row| rows::bytes(row, 0),
        )
    }

    fn chunk(&self, ino: Ino, index: u32) -> Read<Vec<Slice>> {
        let sql = "SELECT slices FROM jfs_chunk WHERE inode = ?1 AND indx = ?2";
        let list = self
            .one(sql, (ino.0 as i64, index), |row| rows::bytes(row, 0))?
            .unwrap_or_default();
        Slice::decode_list(&list)
            .map_err(|error| Error::Io(format!("inode {ino}, chunk {index}: {error}")).into())
    }

    fn chunk_front(&self, ino: Ino, index: u32, count: usize) -> Read<Vec<Slice>> {
        let mut slices = self.chunk(ino, index)?;
        slices.truncate(count);
        Ok(slices)
    }

    fn flocks(&self, ino: Ino) -> Read<Vec<FlockRow>> {
        self.many(
            "SELECT sid, owner, ltype FROM jfs_flock WHERE inode = ?1",
            [ino.0 as i64],
            |row| {
                Ok(FlockRow {
                    session: SessionId(rows::unsigned(row, 0)?),
                    owner: rows::unsigned(row, 1)?,
                    write: row.get::<_, i64>(2)? == i64::from(b'W'),
                })
            },
        )
    }

    fn plocks(&self, ino: Ino) -> Read<Vec<PlockRow>> {
        self.many(
            "SELECT sid, owner, records FROM jfs_plock WHERE inode = ?1",
            [ino.0 as i64],
            |row| {
                Ok(PlockRow {
                    session: SessionId(rows::unsigned(row, 0)?),
                    owner: rows::unsigned(row, 1)?,
                    records: rows::bytes(row, 2)?,
                })
            },
        )
    }

    fn counter(&self, counter: Counter) -> Read<i64> {
        let value = self.one(
            "SELECT value FROM jfs_counter WHERE name = ?1",
            [counter.name()],
            |row| row.get(0),
        )?;
        Ok(value.unwrap_or(0))
    }

    fn quota(&self, ino: Ino) -> Read<Option<QuotaUsage>> {
        let sql = "SELECT max_space, max_inodes, used_space, used_inodes FROM jfs_dir_quota WHERE inode = ?1";
        self.one(sql, [ino.0 as i64], |row| {
            let limit = |at| row.get::<_, i64>(at).map(|value| value.max(0) as u64);
            Ok(QuotaUsage {
                quota: Quota {
                    max_bytes: limit(0)?,
                    max_inodes: limit(1)?,
                },
                used_bytes: row.get(2)?,
                used_inodes: row.get(3)?,
            })
        })
    }

    fn has_dir_stat(&self, dir: Ino) -> Read<bool> {
        let found = self.one(
            "SELECT 1 FROM jfs_dir_stats WHERE inode = ?1",
            [dir.0 as i64],
            |_| Ok(()),
        )?;
        Ok(found.is_some())
    }

    fn dir_stat(&self, dir: Ino) -> Read<Option<DirStat>> {
        let sql = "SELECT data_length, used_space, used_inodes FROM jfs_dir_stats WHERE inode = ?1";
        self.one(sql, [dir.0 as i64], |row| {
            Ok(DirStat {
                length: row.get(0)?,
                space: row.get(1)?,
                inodes: row.get(2)?,
            })
        })
    }

    fn delayed(&self, key: DelayedKey) -> Read<Option<Vec<(SliceId, u32)>>> {
        let sql = "SELECT slices FROM jfs_delslices WHERE chunkid = ?1 AND deleted = ?2";
        let list = self.one(sql, (key.id as i64, key.time), |row| rows::bytes(row, 0))?;
        Ok(list.map(|list| rows::delayed_slices(&list)))
    }

    fn has_session(&self, session: SessionId) -> Read<bool> {
        let found = self.one(
            "SELECT 1 FROM jfs_session2 WHERE sid = ?1",
            [session.0 as i64],
            |_| Ok(()),
        )?;
        Ok(found.is_some())
    }

    fn slice_refs(&self, id: SliceId, size: u32) -> Read<i64> {
        let sql = "SELECT refs FROM jfs_chunk_ref WHERE chunkid = ?1 AND size = ?2";
        Ok(self
            .one(sql, (id.0 as i64, size), |row| row.get(0))?
            .unwrap_or(0))
    }

    fn volume(&self, id: &str) -> Read<Option<VolumeRecord>> {
        let json: Option<String> = self.one(
            "SELECT record FROM carafe_volume WHERE id = ?1",
            [id],
            |row| row.get(0),
        )?;
        json.map(|json| parse_volume(&json)).transpose()
    }

    fn volumes_at(&self, path: &str) -> Read<Vec<VolumeRecord>> {
        let jsons: Vec<String> = self.many(
            "SELECT record FROM carafe_volume WHERE path = ?1",
            [path],
            |row| row.get(0),
        )?;
        jsons.iter().map(|json| parse_volume(json)).collect()
    }
}

pub(super) fn parse_volume(json: &str) -> Read<VolumeRecord> {
    serde_json::from_str(json)
        .map_err(|error| Error::Io(format!("a volume's record is damaged: {error}")).into())
}
