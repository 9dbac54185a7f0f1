//! What a plan may read, how it is selected, and the checks that it still holds.
//!
//! A plan reads without locks; the transaction that applies its mutations first
//! locks and checks what was read. Locks are taken in the order of [`Item`], inodes
//! before entries as the peer takes them, so that clients rarely wait in circles.

use carafe_types::{Ino, SLICE_RECORD_LEN, SessionId, SliceId};

use super::statement::{Cell, Dialect, Row, Rows, Statement, Value, values};
use crate::ops::Counter;

/// One thing that a plan may read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Item {
    /// The record of an operation.
    Operation(SessionId, u32),
    /// An inode.
    Node(Ino),
    /// An entry.
    Entry(Ino, Vec<u8>),
    /// Whether a directory has entries.
    Filled(Ino),
    /// The directories that hold an inode, and how many names each.
    Parents(Ino),
    /// A symbolic link's target.
    Symlink(Ino),
    /// An extended attribute.
    Xattr(Ino, Vec<u8>),
    /// The names of an inode's extended attributes.
    XattrNames(Ino),
    /// A chunk's slices.
    Chunk(Ino, u32),
    /// The first slices of a chunk.
    Front(Ino, u32, usize),
    /// BSD locks.
    Flocks(Ino),
    /// POSIX locks.
    Plocks(Ino),
    /// A counter, by name.
    Counter(&'static str),
    /// A directory's quota.
    Quota(Ino),
    /// A directory's statistics.
    DirStat(Ino),
    /// Slices that wait for the trash's time.
    Delayed(u64, i64),
    /// A session.
    Session(SessionId),
    /// A slice's references.
    Refs(SliceId, u32),
    /// A volume's record.
    Volume(String),
    /// The records of the volumes at a path.
    VolumesAt(String),
    /// The setting.
    Setting,
}

/// How much of what was read must still hold. The strictest lock comes first, so
/// that none has to grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Guard {
    /// Nothing of it; but nobody else may pass the lock meanwhile.
    Lock,
    /// All.
    Whole,
    /// A directory in what its entries depend on.
    Shape,
}

/// An inode's columns.
pub(super) const NODE_COLUMNS: [&str; 17] = [
    "type",
    "flags",
    "mode",
    "uid",
    "gid",
    "atime",
    "mtime",
    "ctime",
    "atimensec",
    "mtimensec",
    "ctimensec",
    "nlink",
    "length",
    "rdev",
    "parent",
    "access_acl_id",
    "default_acl_id",
];

const SELECT_NODE: &str = "SELECT type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec, ctimensec, nlink, \
     length, rdev, parent, access_acl_id, default_acl_id FROM jfs_node WHERE inode = ?";

const SAME_NODE: &str = "SELECT 1 FROM jfs_node WHERE inode = ? AND type = ? AND flags = ? AND mode = ? AND uid = ? AND gid = ? \
     AND atime = ? AND mtime = ? AND ctime = ? AND atimensec = ? AND mtimensec = ? AND ctimensec = ? AND nlink = ? \
     AND length = ? AND COALESCE(rdev, 0) = ? AND COALESCE(parent, 0) = ? AND COALESCE(access_acl_id, 0) = ? \
     AND COALESCE(default_acl_id, 0) = ? FOR UPDATE";

const SAME_SHAPE: &str = "SELECT 1 FROM jfs_node WHERE inode = ? AND type = ? AND flags = ? AND mode = ? AND uid = ? AND gid = ? \
     AND COALESCE(parent, 0) = ?";

/// An entry's type and inode, that inode's number again if it is there, and its
/// columns: one look, so that both are of the same moment.
pub(super) const LOOKUP: &str = "SELECT e.type, e.inode, n.inode, n.type, n.flags, n.mode, n.uid, n.gid, n.atime, n.mtime, n.ctime, \
     n.atimensec, n.mtimensec, n.ctimensec, n.nlink, n.length, n.rdev, n.parent, n.access_acl_id, n.default_acl_id \
     FROM jfs_edge e LEFT JOIN jfs_node n ON n.inode = e.inode WHERE e.parent = ? AND e.name = ?";

/// The same, and behind it whether that inode has entries.
pub(super) const LOOKUP_DIR: &str = "SELECT e.type, e.inode, n.inode, n.type, n.flags, n.mode, n.uid, n.gid, n.atime, n.mtime, \
     n.ctime, n.atimensec, n.mtimensec, n.ctimensec, n.nlink, n.length, n.rdev, n.parent, n.access_acl_id, n.default_acl_id, \
     CASE WHEN EXISTS (SELECT 1 FROM jfs_edge c WHERE c.parent = e.inode) THEN 1 ELSE 0 END \
     FROM jfs_edge e LEFT JOIN jfs_node n ON n.inode = e.inode WHERE e.parent = ? AND e.name = ?";

impl Item {
    /// A counter.
    pub(super) fn counter(counter: Counter) -> Self {
        Self::Counter(counter.name())
    }

    /// What finds it.
    pub(super) fn select(&self) -> Statement {
        let text = match self {
            Self::Operation(..) => "SELECT record FROM carafe_op WHERE session = ? AND slot = ?",
            Self::Node(_) => SELECT_NODE,
            Self::Entry(..) => "SELECT type, inode FROM jfs_edge WHERE parent = ? AND name = ?",
            Self::Filled(_) => "SELECT 1 FROM jfs_edge WHERE parent = ? LIMIT 1",
            Self::Parents(_) => {
                "SELECT parent, count(*) FROM jfs_edge WHERE inode = ? GROUP BY parent"
            }
            Self::Symlink(_) => "SELECT target FROM jfs_symlink WHERE inode = ?",
            Self::Xattr(..) => "SELECT value FROM jfs_xattr WHERE inode = ? AND name = ?",
            Self::XattrNames(_) => "SELECT name FROM jfs_xattr WHERE inode = ?",
            Self::Chunk(..) => "SELECT slices FROM jfs_chunk WHERE inode = ? AND indx = ?",
            Self::Front(ino, index, count) => return select_front(*ino, *index, *count),
            Self::Flocks(_) => "SELECT sid, owner, ltype FROM jfs_flock WHERE inode = ?",
            Self::Plocks(_) => "SELECT sid, owner, records FROM jfs_plock WHERE inode = ?",
            Self::Counter(_) => "SELECT value FROM jfs_counter WHERE name = ?",
            Self::Quota(_) => {
                "SELECT max_space, max_inodes, used_space, used_inodes FROM jfs_dir_quota WHERE inode = ?"
            }
            Self::DirStat(_) => {
                "SELECT data_length, used_space, used_inodes FROM jfs_dir_stats WHERE inode = ?"
            }
            Self::Delayed(..) => {
                "SELECT slices FROM jfs_delslices WHERE chunkid = ? AND deleted = ?"
            }
            Self::Session(_) => "SELECT 1 FROM jfs_session2 WHERE sid = ?",
            Self::Refs(..) => "SELECT refs FROM jfs_chunk_ref WHERE chunkid = ? AND size = ?",
            Self::Volume(_) => "SELECT record FROM carafe_volume WHERE id = ?",
            Self::VolumesAt(_) => "SELECT record FROM carafe_volume WHERE path = ?",
            Self::Setting => "SELECT value FROM jfs_setting WHERE name = ?",
        };
        Statement::new(text, self.place())
    }

    /// The parameters that name it.
    fn place(&self) -> Vec<Value> {
        match self {
            Self::Operation(session, slot) => values![*session, *slot],
            Self::Node(ino)
            | Self::Filled(ino)
            | Self::Parents(ino)
            | Self::Symlink(ino)
            | Self::XattrNames(ino)
            | Self::Flocks(ino)
            | Self::Plocks(ino)
            | Self::Quota(ino)
            | Self::DirStat(ino) => values![*ino],
            Self::Entry(parent, name) => values![*parent, name.clone()],
            Self::Xattr(ino, name) => vec![Value::from(*ino), Value::Text(name.clone())],
            Self::Chunk(ino, index) | Self::Front(ino, index, _) => values![*ino, *index],
            Self::Counter(name) => values![*name],
            Self::Delayed(id, time) => values![*id, *time],
            Self::Session(session) => values![*session],
            Self::Refs(id, size) => values![*id, *size],
            Self::Volume(text) | Self::VolumesAt(text) => values![text.as_str()],
            Self::Setting => values!["format"],
        }
    }

    /// Appends the checks that it is still as it was found.
    pub(super) fn guard(
        &self,
        dialect: &Dialect,
        guard: Guard,
        rows: &Rows,
        out: &mut Vec<Statement>,
    ) {
        match (guard, rows.first()) {
            (Guard::Lock, _) => out.push(self.lock()),
            (Guard::Shape, Some(row)) => out.push(self.same_shape(dialect, row)),
            (_, None) => self.still_absent(dialect, out),
            (_, Some(row)) => self.still_there(dialect, row, rows, out),
        }
    }

    fn lock(&self) -> Statement {
        Statement::new(
            "SELECT 1 FROM jfs_node WHERE inode = ? FOR UPDATE",
            self.place(),
        )
    }

    fn same_shape(&self, dialect: &Dialect, row: &Row) -> Statement {
        let mut values = self.place();
        values.extend(row[..5].iter().map(same));
        values.push(same(&row[14]));
        Statement::holds(dialect, &format!("{SAME_SHAPE}{}", dialect.share), values)
    }

    fn still_absent(&self, dialect: &Dialect, out: &mut Vec<Statement>) {
        match self {
            // They change only with their inode, which is guarded, or never.
            Self::Parents(_) | Self::Symlink(_) | Self::XattrNames(_) => {}
            _ => {
                let select = self.select();
                out.push(Statement::lacks(dialect, &select.text, select.values));
            }
        }
    }

    fn still_there(&self, dialect: &Dialect, row: &Row, rows: &Rows, out: &mut Vec<Statement>) {
        let is_text = matches!(self, Self::Volume(_) | Self::Setting);
        let mut check = |sql: &str, found: &[Cell]| {
            let mut values = self.place();
            values.extend(found.iter().map(if is_text { text } else { same }));
            out.push(Statement::holds(dialect, sql, values));
        };
        match self {
            Self::Node(_) => check(SAME_NODE, row),
            Self::Operation(..) => check(
                "SELECT 1 FROM carafe_op WHERE session = ? AND slot = ? AND record = ? FOR UPDATE",
                row,
            ),
            Self::Entry(..) => check(
                "SELECT 1 FROM jfs_edge WHERE parent = ? AND name = ? AND type = ? AND inode = ? FOR UPDATE",
                row,
            ),
            Self::Xattr(..) => check(
                "SELECT 1 FROM jfs_xattr WHERE inode = ? AND name = ? AND value = ? FOR UPDATE",
                row,
            ),
            Self::Chunk(..) => check(
                "SELECT 1 FROM jfs_chunk WHERE inode = ? AND indx = ? AND slices = ? FOR UPDATE",
                row,
            ),
            Self::Front(_, _, count) => out.push(same_front(dialect, self.place(), *count, row)),
            Self::Counter(_) => check(
                "SELECT 1 FROM jfs_counter WHERE name = ? AND value = ? FOR UPDATE",
                row,
            ),
            Self::Quota(_) => check(
                "SELECT 1 FROM jfs_dir_quota WHERE inode = ? AND max_space = ? AND max_inodes = ? FOR UPDATE",
                &row[..2],
            ),
            Self::Refs(..) => check(
                "SELECT 1 FROM jfs_chunk_ref WHERE chunkid = ? AND size = ? AND refs = ? FOR UPDATE",
                row,
            ),
            Self::Volume(_) => check(
                "SELECT 1 FROM carafe_volume WHERE id = ? AND record = ? FOR UPDATE",
                row,
            ),
            Self::Setting => check(
                "SELECT 1 FROM jfs_setting WHERE name = ? AND value = ? FOR UPDATE",
                row,
            ),
            Self::Session(_) => check("SELECT 1 FROM jfs_session2 WHERE sid = ? FOR UPDATE", &[]),
            Self::Filled(_) => check(&self.select().text, &[]),
            Self::DirStat(_) => check("SELECT 1 FROM jfs_dir_stats WHERE inode = ?", &[]),
            Self::Delayed(..) => check(
                "SELECT 1 FROM jfs_delslices WHERE chunkid = ? AND deleted = ? FOR UPDATE",
                &[],
            ),
            Self::Flocks(_) | Self::Plocks(_) | Self::VolumesAt(_) => {
                self.same_set(dialect, rows, out);
            }
            Self::Parents(_) | Self::Symlink(_) | Self::XattrNames(_) => {}
        }
    }

    /// As many as there were, and each of those.
    fn same_set(&self, dialect: &Dialect, rows: &Rows, out: &mut Vec<Statement>) {
        let (count, each) = match self {
            Self::Flocks(_) => (
                "SELECT 1 FROM (SELECT count(*) AS n FROM jfs_flock WHERE inode = ?) c WHERE n = ?",
                "SELECT 1 FROM jfs_flock WHERE inode = ? AND sid = ? AND owner = ? AND ltype = ?",
            ),
            Self::Plocks(_) => (
                "SELECT 1 FROM (SELECT count(*) AS n FROM jfs_plock WHERE inode = ?) c WHERE n = ?",
                "SELECT 1 FROM jfs_plock WHERE inode = ? AND sid = ? AND owner = ? AND records = ?",
            ),
            _ => (
                "SELECT 1 FROM (SELECT count(*) AS n FROM carafe_volume WHERE path = ?) c WHERE n = ?",
                "SELECT 1 FROM carafe_volume WHERE path = ? AND record = ?",
            ),
        };
        let mut values = self.place();
        values.push(Value::Int(rows.len() as i64));
        out.push(Statement::holds(dialect, count, values));
        for row in rows {
            let mut values = self.place();
            let is_text = matches!(self, Self::VolumesAt(_));
            values.extend(row.iter().map(if is_text { text } else { same }));
            out.push(Statement::holds(dialect, each, values));
        }
    }
}

fn front_len(count: usize) -> Value {
    Value::Short(i32::try_from(count * SLICE_RECORD_LEN).unwrap_or(i32::MAX))
}

fn select_front(ino: Ino, index: u32, count: usize) -> Statement {
    let text = "SELECT substring(slices from 1 for ?) FROM jfs_chunk WHERE inode = ? AND indx = ?";
    let mut values = vec![front_len(count)];
    values.extend(values![ino, index]);
    Statement::new(text, values)
}

fn same_front(dialect: &Dialect, mut values: Vec<Value>, count: usize, row: &Row) -> Statement {
    let text = "SELECT 1 FROM jfs_chunk WHERE inode = ? AND indx = ? AND substring(slices from 1 for ?) = ? FOR UPDATE";
    values.push(front_len(count));
    values.push(same(&row[0]));
    Statement::holds(dialect, text, values)
}

/// A cell as the parameter that equals it; nothing counts as 0.
fn same(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Int(0),
        Cell::Int(value) => Value::Int(*value),
        Cell::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}

fn text(cell: &Cell) -> Value {
    match cell {
        Cell::Bytes(bytes) => Value::Text(bytes.clone()),
        other => same(other),
    }
}
