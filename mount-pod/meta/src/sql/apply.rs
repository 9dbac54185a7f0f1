//! Mutations as statements.
//!
//! What the whole volume changes, usage above all, comes last: its locks are held
//! for the commit alone. Sums are taken in one order by all clients.

use std::{collections::HashSet, fmt::Write as _};

use carafe_types::{Attr, Error, Ino, Result, SLICE_RECORD_LEN, Slice};

use super::{
    item::Item,
    statement::{Dialect, Statement, Unmet, Value, values},
};
use crate::{
    OpKey,
    ops::{Counter, Mutation},
    sqlite::rows::delayed_list,
};

/// Builds the statements that apply mutations.
pub(super) struct Script<'a> {
    dialect: &'a Dialect,
    /// What was read and not found. The insert that makes it fails if somebody else
    /// was first, and is taken off here.
    absent: HashSet<Item>,
    out: Vec<Statement>,
}

impl<'a> Script<'a> {
    /// Nothing yet. `absent` is what was read and not found.
    pub(super) fn new(dialect: &'a Dialect, absent: HashSet<Item>) -> Self {
        Self {
            dialect,
            absent,
            out: Vec::new(),
        }
    }

    /// The statements, and what is still to be checked to be absent.
    pub(super) fn into_parts(self) -> (Vec<Statement>, HashSet<Item>) {
        (self.out, self.absent)
    }

    /// Writes an operation's record.
    pub(super) fn record(&mut self, key: OpKey, record: Vec<u8>) {
        self.put(
            &Item::Operation(key.session, key.slot),
            "carafe_op",
            &["session", "slot", "record"],
            2,
            values![key.session, key.slot, record],
        );
    }

    /// Applies all of a plan's mutations.
    pub(super) fn apply(&mut self, mutations: &[Mutation]) -> Result<()> {
        let (sums, others): (Vec<_>, Vec<_>) = mutations
            .iter()
            .partition(|mutation| sum_order(mutation).is_some());
        for mutation in others {
            self.one(mutation)?;
        }
        let mut sums = sums;
        sums.sort_by_key(|mutation| sum_order(mutation));
        for mutation in sums {
            self.sum(mutation);
        }
        Ok(())
    }

    fn one(&mut self, mutation: &Mutation) -> Result<()> {
        match mutation {
            Mutation::SetSetting { .. }
            | Mutation::InitCounters
            | Mutation::SetCounter { .. }
            | Mutation::SetSession { .. }
            | Mutation::ExtendSession { .. }
            | Mutation::DropSession { .. }
            | Mutation::SetVolume { .. }
            | Mutation::DropVolume { .. } => return self.book(mutation),
            Mutation::NewNode { .. }
            | Mutation::SetNode { .. }
            | Mutation::DropNode { .. }
            | Mutation::SetEntry { .. }
            | Mutation::DropEntry { .. }
            | Mutation::SetSymlink { .. }
            | Mutation::DropSymlink { .. }
            | Mutation::SetXattr { .. }
            | Mutation::DropXattr { .. }
            | Mutation::DropXattrs { .. } => self.name(mutation),
            Mutation::AppendSlice { .. }
            | Mutation::ReplaceSlices { .. }
            | Mutation::ZeroChunks { .. }
            | Mutation::NewSlice { .. }
            | Mutation::RefSlice { .. }
            | Mutation::DropSlice { .. }
            | Mutation::DropChunk { .. } => self.slices(mutation),
            Mutation::AddDelayed { .. }
            | Mutation::DropDelayed { .. }
            | Mutation::Sustain { .. }
            | Mutation::Unsustain { .. }
            | Mutation::AddDeleted { .. }
            | Mutation::DropDeleted { .. } => self.deleted(mutation),
            Mutation::InitDirStat { .. }
            | Mutation::DropDirStat { .. }
            | Mutation::SetQuota { .. }
            | Mutation::DropQuota { .. } => self.usage(mutation),
            Mutation::SetFlock { .. }
            | Mutation::DropFlock { .. }
            | Mutation::SetPlock { .. }
            | Mutation::DropPlock { .. } => self.lock(mutation),
            // The entries' index by inode answers that.
            Mutation::CountParent { .. } | Mutation::DropParents { .. } => {}
            Mutation::TouchDir { .. }
            | Mutation::DirStat { .. }
            | Mutation::UseQuota { .. }
            | Mutation::Use { .. } => self.sum(mutation),
        }
        Ok(())
    }

    fn run(&mut self, text: &'static str, values: Vec<Value>) {
        self.out.push(Statement::new(text, values));
    }

    /// Makes a row, or replaces what is behind its first `key` columns. A row that was
    /// read and not found is made, or the transaction fails.
    fn put(&mut self, item: &Item, table: &str, columns: &[&str], key: usize, values: Vec<Value>) {
        let mut text = insert(table, columns);
        if !self.absent.remove(item) {
            text += &self.or_set(columns, key, columns.len());
        }
        self.out.push(Statement::new(text, values));
    }

    /// As [`Script::put`], whatever was read; only the columns up to `until` are replaced.
    fn upsert(
        &mut self,
        table: &str,
        columns: &[&str],
        key: usize,
        until: usize,
        values: Vec<Value>,
    ) {
        let text = insert(table, columns) + &self.or_set(columns, key, until);
        self.out.push(Statement::new(text, values));
    }

    fn or_set(&self, columns: &[&str], key: usize, until: usize) -> String {
        let mut text = (self.dialect.or_update)(&columns[..key].join(", "));
        // With nothing to replace, the row stays as it is.
        let set = if key < until {
            &columns[key..until]
        } else {
            &columns[..1]
        };
        for (number, column) in set.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let excluded = (self.dialect.excluded)(column);
            let _ = write!(text, "{comma}{column} = {excluded}");
        }
        text
    }

    fn book(&mut self, mutation: &Mutation) -> Result<()> {
        match mutation {
            Mutation::SetSetting { json } => {
                let values = values!["format", json.as_str()];
                self.put(&Item::Setting, "jfs_setting", &["name", "value"], 1, values);
            }
            Mutation::InitCounters => self.init_counters(),
            Mutation::SetCounter { counter, value } => {
                let values = values![counter.name(), *value];
                let item = Item::counter(*counter);
                self.put(&item, "jfs_counter", &["name", "value"], 1, values);
            }
            Mutation::SetSession {
                session,
                expires,
                info,
            } => {
                let values = values![*session, *expires, info.as_bytes().to_vec()];
                let columns = ["sid", "expire", "info"];
                let item = Item::Session(*session);
                self.put(&item, "jfs_session2", &columns, 1, values);
            }
            Mutation::ExtendSession { session, expires } => self.run(
                "UPDATE jfs_session2 SET expire = ? WHERE sid = ?",
                values![*expires, *session],
            ),
            Mutation::DropSession { session } => {
                for text in [
                    "DELETE FROM jfs_flock WHERE sid = ?",
                    "DELETE FROM jfs_plock WHERE sid = ?",
                    "DELETE FROM jfs_sustained WHERE sid = ?",
                    "DELETE FROM jfs_session2 WHERE sid = ?",
                    "DELETE FROM carafe_op WHERE session = ?",
                ] {
                    self.run(text, values![*session]);
                }
            }
            Mutation::SetVolume { record } => {
                let json =
                    serde_json::to_string(record).map_err(|error| Error::Io(error.to_string()))?;
                let values = values![record.id.as_str(), record.path.as_str(), json.as_str()];
                let item = Item::Volume(record.id.clone());
                self.put(&item, "carafe_volume", &["id", "path", "record"], 1, values);
            }
            Mutation::DropVolume { record } => self.run(
                "DELETE FROM carafe_volume WHERE id = ?",
                values![record.id.as_str()],
            ),
            _ => {}
        }
        Ok(())
    }

    /// `nextInode` and `nextChunk` hold the next id here, the others the last one.
    fn init_counters(&mut self) {
        let start: [(&str, i64); 6] = [
            ("nextInode", 2),
            ("nextChunk", 1),
            ("nextSession", 0),
            ("usedSpace", 0),
            ("totalInodes", 0),
            ("nextCleanupSlices", 0),
        ];
        for (name, value) in start {
            self.upsert(
                "jfs_counter",
                &["name", "value"],
                1,
                1,
                values![name, value],
            );
        }
    }

    fn name(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::NewNode { ino, attr } => self.run(INSERT_NODE, node(*ino, attr)),
            Mutation::SetNode { ino, attr } => self.run(UPDATE_NODE, node(*ino, attr)),
            Mutation::DropNode { ino } => {
                self.run("DELETE FROM jfs_node WHERE inode = ?", values![*ino]);
            }
            Mutation::SetEntry {
                parent,
                name,
                kind,
                ino,
            } => {
                let values = values![*parent, name.clone(), *ino, *kind as i64];
                let columns = ["parent", "name", "inode", "type"];
                let item = Item::Entry(*parent, name.clone());
                self.put(&item, "jfs_edge", &columns, 2, values);
            }
            Mutation::DropEntry { parent, name } => self.run(
                "DELETE FROM jfs_edge WHERE parent = ? AND name = ?",
                values![*parent, name.clone()],
            ),
            Mutation::SetSymlink { ino, target } => self.upsert(
                "jfs_symlink",
                &["inode", "target"],
                1,
                2,
                values![*ino, target.clone()],
            ),
            Mutation::DropSymlink { ino } => {
                self.run("DELETE FROM jfs_symlink WHERE inode = ?", values![*ino]);
            }
            Mutation::SetXattr { ino, name, value } => {
                let mut values = vec![Value::from(*ino), Value::Text(name.clone())];
                values.push(value.clone().into());
                let item = Item::Xattr(*ino, name.clone());
                self.put(&item, "jfs_xattr", &["inode", "name", "value"], 2, values);
            }
            Mutation::DropXattr { ino, name } => self.run(
                "DELETE FROM jfs_xattr WHERE inode = ? AND name = ?",
                vec![Value::from(*ino), Value::Text(name.clone())],
            ),
            Mutation::DropXattrs { ino } => {
                self.run("DELETE FROM jfs_xattr WHERE inode = ?", values![*ino]);
            }
            _ => {}
        }
    }

    fn slices(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::AppendSlice { ino, index, slice } => {
                let excluded = (self.dialect.excluded)("slices");
                let longer = (self.dialect.concat)("jfs_chunk.slices", &excluded);
                let mut text = insert("jfs_chunk", &["inode", "indx", "slices"]);
                text += &(self.dialect.or_update)("inode, indx");
                let _ = write!(text, "slices = {longer}");
                let values = values![*ino, *index, slice.encode().to_vec()];
                self.out.push(Statement::new(text, values));
            }
            Mutation::ReplaceSlices {
                ino,
                index,
                count,
                by,
            } => {
                let list = (self.dialect.concat)("?", "substring(slices from ?)");
                let text =
                    format!("UPDATE jfs_chunk SET slices = {list} WHERE inode = ? AND indx = ?");
                let rest = i32::try_from(count * SLICE_RECORD_LEN + 1).unwrap_or(i32::MAX);
                let by: Vec<u8> = by.iter().flat_map(Slice::encode).collect();
                let mut values = vec![Value::Bytes(by), Value::Short(rest)];
                values.extend(values![*ino, *index]);
                self.out.push(Statement::new(text, values));
            }
            Mutation::ZeroChunks { ino, after, before } => {
                let hole = Slice::hole(0, carafe_types::CHUNK_SIZE as u32).encode();
                let longer = (self.dialect.concat)("slices", "?");
                let text = format!(
                    "UPDATE jfs_chunk SET slices = {longer} WHERE inode = ? AND indx > ? AND indx < ?"
                );
                let values = values![hole.to_vec(), *ino, *after, *before];
                self.out.push(Statement::new(text, values));
            }
            Mutation::NewSlice { id, size } => {
                let mut text = insert("jfs_chunk_ref", &["chunkid", "size", "refs"]);
                text += &(self.dialect.or_update)("chunkid");
                text += "refs = jfs_chunk_ref.refs + 1";
                self.out
                    .push(Statement::new(text, values![*id, *size, 1_i64]));
            }
            Mutation::RefSlice { id, size, delta } => self.run(
                "UPDATE jfs_chunk_ref SET refs = refs + ? WHERE chunkid = ? AND size = ?",
                values![*delta, *id, *size],
            ),
            Mutation::DropSlice { id, .. } => {
                self.run("DELETE FROM jfs_chunk_ref WHERE chunkid = ?", values![*id]);
            }
            Mutation::DropChunk { ino, index } => self.run(
                "DELETE FROM jfs_chunk WHERE inode = ? AND indx = ?",
                values![*ino, *index],
            ),
            _ => {}
        }
    }

    fn deleted(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::AddDelayed { key, slices } => self.run(
                "INSERT INTO jfs_delslices (chunkid, deleted, slices) VALUES (?, ?, ?)",
                values![key.id, key.time, delayed_list(slices)],
            ),
            Mutation::DropDelayed { key } => self.run(
                "DELETE FROM jfs_delslices WHERE chunkid = ?",
                values![key.id],
            ),
            Mutation::Sustain { session, ino } => self.upsert(
                "jfs_sustained",
                &["sid", "inode"],
                2,
                2,
                values![*session, *ino],
            ),
            Mutation::Unsustain { session, ino } => self.run(
                "DELETE FROM jfs_sustained WHERE sid = ? AND inode = ?",
                values![*session, *ino],
            ),
            Mutation::AddDeleted { ino, length, time } => self.upsert(
                "jfs_delfile",
                &["inode", "length", "expire"],
                1,
                3,
                values![*ino, *length, time.secs],
            ),
            Mutation::DropDeleted { ino, .. } => {
                self.run("DELETE FROM jfs_delfile WHERE inode = ?", values![*ino]);
            }
            _ => {}
        }
    }

    fn usage(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::InitDirStat { dir } => self.upsert(
                "jfs_dir_stats",
                &["inode", "data_length", "used_space", "used_inodes"],
                1,
                4,
                values![*dir, 0_i64, 0_i64, 0_i64],
            ),
            Mutation::DropDirStat { dir } => {
                self.run("DELETE FROM jfs_dir_stats WHERE inode = ?", values![*dir]);
            }
            Mutation::SetQuota { dir, quota, used } => {
                let columns = [
                    "inode",
                    "max_space",
                    "max_inodes",
                    "used_space",
                    "used_inodes",
                ];
                let (space, inodes) = used.unwrap_or_default();
                let values = values![*dir, quota.max_bytes, quota.max_inodes, space, inodes];
                self.upsert("jfs_dir_quota", &columns, 1, 3, values);
            }
            Mutation::DropQuota { dir } => {
                self.run("DELETE FROM jfs_dir_quota WHERE inode = ?", values![*dir]);
            }
            _ => {}
        }
    }

    fn sum(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::TouchDir { ino, nlink, time } => {
                let (micros, rest) = time.to_micros();
                self.run(
                    "UPDATE jfs_node SET nlink = nlink + ?, mtime = ?, ctime = ?, mtimensec = ?, ctimensec = ? \
                     WHERE inode = ?",
                    values![i64::from(*nlink), micros, micros, rest, rest, *ino],
                );
            }
            Mutation::DirStat {
                dir,
                length,
                space,
                inodes,
            } => self.run(
                "UPDATE jfs_dir_stats SET data_length = data_length + ?, used_space = used_space + ?, \
                 used_inodes = used_inodes + ? WHERE inode = ?",
                values![*length, *space, *inodes, *dir],
            ),
            Mutation::UseQuota { dir, space, inodes } => self.use_quota(*dir, *space, *inodes),
            Mutation::Use {
                space,
                inodes,
                capacity,
                max_inodes,
            } => {
                // In the peer's order.
                self.count(Counter::TotalInodes, *inodes, *max_inodes);
                self.count(Counter::UsedSpace, *space, *capacity);
            }
            _ => {}
        }
    }

    /// Adds to a counter; the volume is full if it grows above `limit`.
    fn count(&mut self, counter: Counter, delta: i64, limit: u64) {
        if delta == 0 {
            return;
        }
        self.run(
            "UPDATE jfs_counter SET value = value + ? WHERE name = ?",
            values![delta, counter.name()],
        );
        if delta > 0 && limit > 0 {
            let limit = limit.min(i64::MAX as u64);
            let select = "SELECT 1 FROM jfs_counter WHERE name = ? AND value <= ?";
            let check = Statement::holds(self.dialect, select, values![counter.name(), limit]);
            self.out.push(check.or(Unmet::NoSpace));
        }
    }

    fn use_quota(&mut self, dir: Ino, space: i64, inodes: i64) {
        self.run(
            "UPDATE jfs_dir_quota SET used_space = used_space + ?, used_inodes = used_inodes + ? WHERE inode = ?",
            values![space, inodes, dir],
        );
        for (grows, over) in [
            (
                space > 0,
                "SELECT 1 FROM jfs_dir_quota WHERE inode = ? AND max_space > 0 AND used_space > max_space",
            ),
            (
                inodes > 0,
                "SELECT 1 FROM jfs_dir_quota WHERE inode = ? AND max_inodes > 0 AND used_inodes > max_inodes",
            ),
        ] {
            if grows {
                let check = Statement::lacks(self.dialect, over, values![dir]);
                self.out.push(check.or(Unmet::QuotaExceeded));
            }
        }
    }

    fn lock(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::SetFlock {
                ino,
                session,
                owner,
                write,
            } => self.upsert(
                "jfs_flock",
                &["inode", "sid", "owner", "ltype"],
                3,
                4,
                values![
                    *ino,
                    *session,
                    *owner,
                    i64::from(if *write { b'W' } else { b'R' })
                ],
            ),
            Mutation::DropFlock {
                ino,
                session,
                owner,
            } => self.run(
                "DELETE FROM jfs_flock WHERE inode = ? AND sid = ? AND owner = ?",
                values![*ino, *session, *owner],
            ),
            Mutation::SetPlock {
                ino,
                session,
                owner,
                records,
            } => self.upsert(
                "jfs_plock",
                &["inode", "sid", "owner", "records"],
                3,
                4,
                values![*ino, *session, *owner, records.clone()],
            ),
            Mutation::DropPlock {
                ino,
                session,
                owner,
            } => self.run(
                "DELETE FROM jfs_plock WHERE inode = ? AND sid = ? AND owner = ?",
                values![*ino, *session, *owner],
            ),
            _ => {}
        }
    }
}

/// The place of a sum among the last statements; `None` for what is no sum.
fn sum_order(mutation: &Mutation) -> Option<(u8, Ino)> {
    match mutation {
        Mutation::TouchDir { ino, .. } => Some((0, *ino)),
        Mutation::DirStat { dir, .. } => Some((1, *dir)),
        Mutation::UseQuota { dir, .. } => Some((2, *dir)),
        Mutation::Use { .. } => Some((3, Ino(0))),
        _ => None,
    }
}

/// What puts a row with these columns into a table.
pub(super) fn insert(table: &str, columns: &[&str]) -> String {
    let marks = vec!["?"; columns.len()].join(", ");
    format!(
        "INSERT INTO {table} ({}) VALUES ({marks})",
        columns.join(", ")
    )
}

const INSERT_NODE: &str = "INSERT INTO jfs_node (type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec, ctimensec, \
     nlink, length, rdev, parent, access_acl_id, default_acl_id, inode) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const UPDATE_NODE: &str = "UPDATE jfs_node SET type = ?, flags = ?, mode = ?, uid = ?, gid = ?, atime = ?, mtime = ?, ctime = ?, \
     atimensec = ?, mtimensec = ?, ctimensec = ?, nlink = ?, length = ?, rdev = ?, parent = ?, access_acl_id = ?, \
     default_acl_id = ? WHERE inode = ?";

fn node(ino: Ino, attr: &Attr) -> Vec<Value> {
    let [atime, mtime, ctime] =
        [attr.atime, attr.mtime, attr.ctime].map(carafe_types::Timestamp::to_micros);
    values![
        attr.kind as i64,
        u32::from(attr.flags),
        u32::from(attr.mode),
        attr.uid,
        attr.gid,
        atime.0,
        mtime.0,
        ctime.0,
        atime.1,
        mtime.1,
        ctime.1,
        attr.nlink,
        attr.length,
        attr.rdev,
        attr.parent,
        attr.access_acl,
        attr.default_acl,
        ino,
    ]
}
