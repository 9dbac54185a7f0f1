//! What each operation does, once for all engines, and without I/O.
//!
//! An operation is a **plan**: a pure function that looks at the database through
//! [`Reads`] and answers a result with a list of [`Mutation`]s. An engine gives
//! it the reads and applies the mutations in its own layout, all or nothing and
//! only if what was read still holds (SQL: one transaction; Redis: guards). A
//! plan may run several times, so it has no effects of its own.
//!
//! A **charge** is a change of usage: of the whole volume ([`Mutation::Use`]) and
//! of each directory with a quota ([`Mutation::UseQuota`]); an engine checks the
//! limits as it applies it, against the figures of that moment.

pub(crate) mod acl;
pub(crate) mod attrs;
pub(crate) mod clean;
pub(crate) mod clone;
pub(crate) mod compact;
pub(crate) mod create;
pub(crate) mod data;
pub(crate) mod locks;
mod mutation;
pub(crate) mod names;
pub(crate) mod quota;
mod reads;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod repair;
pub(crate) mod sessions;
pub(crate) mod setting;
#[cfg(test)]
mod tests;
pub(crate) mod volumes;
pub(crate) mod xattr;

use std::{collections::HashSet, sync::Arc};

use carafe_types::{Attr, Error, FileType, Ino, SessionId, Timestamp, flags};
use parking_lot::Mutex;

pub(crate) use mutation::{DelayedKey, Mutation};
pub(crate) use reads::{Counter, Entry, FlockRow, PlockRow, Read, Reads, Stop, Want};

/// A plan's result: what to answer once the mutations are applied.
#[derive(Clone, Debug)]
pub(crate) struct Planned<T> {
    /// What the caller gets.
    pub(crate) answer: T,
    /// What the engine applies, in order; none means that nothing changes.
    pub(crate) mutations: Vec<Mutation>,
}

/// What a plan function returns.
pub(crate) type Plan<T> = Result<Planned<T>, Stop>;

impl<T> Planned<T> {
    /// An answer that changes nothing.
    #[expect(clippy::unnecessary_wraps, reason = "a plan ends with it")]
    pub(crate) fn unchanged(answer: T) -> Plan<T> {
        Ok(Self {
            answer,
            mutations: Vec::new(),
        })
    }

    /// An answer with its mutations.
    #[expect(clippy::unnecessary_wraps, reason = "a plan ends with it")]
    pub(crate) fn with(answer: T, mutations: Vec<Mutation>) -> Plan<T> {
        Ok(Self { answer, mutations })
    }
}

/// The inodes that this client has open, by session.
pub(crate) type Opens = Mutex<HashSet<(SessionId, Ino)>>;

/// What a plan knows besides the database: the caller, the time and the setting.
#[derive(Clone, Debug)]
pub(crate) struct Ctx {
    /// The time of the operation.
    pub(crate) now: Timestamp,
    /// The caller's user.
    pub(crate) uid: u32,
    /// The caller's group.
    pub(crate) gid: u32,
    /// The caller's other groups.
    pub(crate) groups: Arc<[u32]>,
    /// Whether the kernel has applied chmod's rules.
    pub(crate) checked: bool,
    /// The caller's session, 0 for none.
    pub(crate) session: SessionId,
    /// The volume's limit of bytes, 0 for none.
    pub(crate) capacity: u64,
    /// The volume's limit of inodes, 0 for none.
    pub(crate) max_inodes: u64,
    /// Whether directories' usage is kept.
    pub(crate) dir_stats: bool,
    /// The trash's directory of this hour; `None` if deleted files do not go there.
    pub(crate) trash: Option<Ino>,
    /// What is open in this client.
    pub(crate) opens: Arc<Opens>,
    /// The directories that have a quota.
    pub(crate) quotas: Arc<HashSet<Ino>>,
    /// The access control lists; `None` on a volume without.
    pub(crate) acls: Option<Arc<acl::View>>,
}

impl Ctx {
    fn is_open(&self, ino: Ino) -> bool {
        self.session.0 > 0 && self.opens.lock().contains(&(self.session, ino))
    }

    /// The same without the volume's limits: deleting must work on a full volume,
    /// also where it makes a directory for what is deleted.
    fn unlimited(&self) -> Self {
        Self {
            capacity: 0,
            max_inodes: 0,
            ..self.clone()
        }
    }

    /// Whether the caller is `gid` or has it among its groups.
    fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// The room that a file of `length` bytes takes in the books: whole 4 KiB units,
/// at least one.
pub(crate) fn space_of(length: u64) -> i64 {
    (length.max(1).div_ceil(4096) * 4096) as i64
}

/// The bytes of an inode that count in its directory's statistics.
fn counted_length(attr: &Attr) -> u64 {
    if attr.kind == FileType::File {
        attr.length
    } else {
        0
    }
}

/// The usage of one inode: bytes in whole units.
fn inode_space(attr: &Attr) -> i64 {
    space_of(counted_length(attr))
}

/// A directory in which entries may be made.
fn writable_dir(reads: &dyn Reads, ino: Ino) -> Read<Attr> {
    let dir = existing_dir(reads, ino)?;
    if dir.parent > Ino::TRASH {
        return Err(Error::NotFound.into());
    }
    if dir.flags & flags::IMMUTABLE != 0 {
        return Err(Error::NotPermitted.into());
    }
    Ok(dir)
}

/// A directory from which entries may be taken.
fn reducible_dir(reads: &dyn Reads, ino: Ino) -> Read<Attr> {
    let dir = existing_dir(reads, ino)?;
    if dir.flags & (flags::IMMUTABLE | flags::APPEND) != 0 {
        return Err(Error::NotPermitted.into());
    }
    Ok(dir)
}

fn existing_dir(reads: &dyn Reads, ino: Ino) -> Read<Attr> {
    let dir = reads.dir(ino)?.ok_or(Error::NotFound)?;
    if dir.is_dir() {
        Ok(dir)
    } else {
        Err(Error::NotDirectory.into())
    }
}

/// An inode that must be there.
fn existing(reads: &dyn Reads, ino: Ino) -> Read<Attr> {
    Ok(reads.node(ino)?.ok_or(Error::NotFound)?)
}

/// Refuses changes of an inode whose flags forbid them.
fn changeable(attr: &Attr) -> Read<()> {
    if attr.flags & (flags::IMMUTABLE | flags::APPEND) != 0 {
        Err(Error::NotPermitted.into())
    } else {
        Ok(())
    }
}

/// In a sticky directory only the owners of entry and directory remove it.
fn check_sticky(ctx: &Ctx, dir: &Attr, entry: &Attr) -> Read<()> {
    let sticky = dir.mode & 0o1000 != 0;
    if sticky && ctx.uid != 0 && ctx.uid != dir.uid && ctx.uid != entry.uid {
        return Err(Error::PermissionDenied.into());
    }
    Ok(())
}

/// The change of a directory's times (and links) when its entries change; the
/// trash's directories keep theirs.
fn touch_dir(ctx: &Ctx, ino: Ino, nlink: i32, out: &mut Vec<Mutation>) {
    if !ino.is_trash() {
        out.push(Mutation::TouchDir {
            ino,
            nlink,
            time: ctx.now,
        });
    }
}

/// One inode's part in the figures of the directory that holds it.
#[derive(Clone, Copy)]
struct Share {
    length: i64,
    space: i64,
    inodes: i64,
}

impl Share {
    fn of(attr: &Attr) -> Self {
        Self {
            length: counted_length(attr) as i64,
            space: inode_space(attr),
            inodes: 1,
        }
    }

    fn times(self, factor: i64) -> Self {
        Self {
            length: self.length * factor,
            space: self.space * factor,
            inodes: self.inodes * factor,
        }
    }

    fn gone(self) -> Self {
        self.times(-1)
    }
}

/// Books `share` in a directory: its statistics, and the quotas at and above it.
fn book(reads: &dyn Reads, ctx: &Ctx, dir: Ino, share: Share, out: &mut Vec<Mutation>) -> Read<()> {
    book_stat(ctx, dir, share, out);
    for quota in quota_dirs(reads, ctx, dir)? {
        out.push(Mutation::UseQuota {
            dir: quota,
            space: share.space,
            inodes: share.inodes,
        });
    }
    Ok(())
}

fn book_stat(ctx: &Ctx, dir: Ino, share: Share, out: &mut Vec<Mutation>) {
    if ctx.dir_stats && !dir.is_trash() {
        let Share {
            length,
            space,
            inodes,
        } = share;
        out.push(Mutation::DirStat {
            dir,
            length,
            space,
            inodes,
        });
    }
}

/// Books a change of the whole volume's usage.
fn book_volume(ctx: &Ctx, space: i64, inodes: i64, out: &mut Vec<Mutation>) {
    if space != 0 || inodes != 0 {
        out.push(Mutation::Use {
            space,
            inodes,
            capacity: ctx.capacity,
            max_inodes: ctx.max_inodes,
        });
    }
}

/// The directories with a quota at `dir` and above it.
fn quota_dirs(reads: &dyn Reads, ctx: &Ctx, dir: Ino) -> Read<Vec<Ino>> {
    let mut found = Vec::new();
    if ctx.quotas.is_empty() {
        return Ok(found);
    }
    let mut at = dir;
    // Deeper than PATH_MAX allows means a damaged tree: stop, do not hang.
    for _ in 0..4096 {
        if at.is_trash() || at.0 == 0 {
            break;
        }
        if ctx.quotas.contains(&at) {
            found.push(at);
        }
        if at == Ino::ROOT {
            break;
        }
        match reads.parent(at)? {
            Some(parent) if parent != at => at = parent,
            _ => break,
        }
    }
    Ok(found)
}

/// The directories that hold a file, each with how many of its names it holds. An
/// open file without a name is in none, though it remembers its last one.
fn holders(reads: &dyn Reads, ino: Ino, attr: &Attr) -> Read<Vec<(Ino, i64)>> {
    match (attr.nlink, attr.parent) {
        (0, _) => Ok(Vec::new()),
        (_, Ino(0)) => reads.parents(ino),
        (_, parent) => Ok(vec![(parent, 1)]),
    }
}

/// Books a file's change of length in the volume and in all its directories.
fn book_growth(
    reads: &dyn Reads,
    ctx: &Ctx,
    ino: Ino,
    attr: &Attr,
    new_length: u64,
    out: &mut Vec<Mutation>,
) -> Read<()> {
    let length = new_length as i64 - attr.length as i64;
    let space = space_of(new_length) - space_of(attr.length);
    if length == 0 {
        return Ok(());
    }
    book_volume(ctx, space, 0, out);
    let share = Share {
        length,
        space,
        inodes: 0,
    };
    for (dir, names) in holders(reads, ino, attr)? {
        if !dir.is_trash() {
            book(reads, ctx, dir, share.times(names), out)?;
        }
    }
    Ok(())
}
