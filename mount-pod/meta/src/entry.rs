//! Arguments and answers of the operations on names, inodes and data.

use carafe_types::{Attr, FileType, Ino, Slice, SliceId, Timestamp};

/// What [`Meta::create`](crate::Meta::create) makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewNode {
    /// Its type.
    pub kind: FileType,
    /// Permission bits before the umask (12 bits).
    pub mode: u16,
    /// The caller's umask; ignored where the directory has a default ACL.
    pub umask: u16,
    /// A device's number.
    pub rdev: u32,
    /// A symbolic link's target, 1 to 4096 bytes; empty for all else.
    pub target: Vec<u8>,
}

/// What [`Meta::setattr`](crate::Meta::setattr) changes; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits with suid, sgid, sticky.
    pub mode: Option<u16>,
    /// The owner.
    pub uid: Option<u32>,
    /// The owning group.
    pub gid: Option<u32>,
    /// The length: cuts or grows (with a hole).
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Timestamp>,
    /// Last change of content.
    pub mtime: Option<Timestamp>,
    /// Last change of attributes: the kernel sends it with a write-back cache.
    pub ctime: Option<Timestamp>,
    /// `atime` is to be the engine's now.
    pub atime_now: bool,
    /// `mtime` is to be the engine's now.
    pub mtime_now: bool,
    /// Clear suid, and sgid of an executable file, as a write by others does.
    pub kill_suid: bool,
    /// The last access is now, and nothing else is touched by it, not even `ctime`.
    pub access: bool,
}

/// renameat2(2)'s flags that the format can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenameFlags {
    /// Replace what is there.
    #[default]
    None,
    /// `Exists` if the new name is taken.
    NoReplace,
    /// Swap the two entries.
    Exchange,
}

/// Where a listing goes on. Stateless: any cursor that was given stays valid,
/// also for another client. 0 is the start; entries `.` and `..` are the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub u64);

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its inode.
    pub ino: Ino,
    /// Its type.
    pub kind: FileType,
    /// Its attributes, if they were asked for and the inode is there.
    pub attr: Option<Attr>,
    /// The cursor behind this entry.
    pub next: Cursor,
}

/// A page of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirPage {
    /// The entries in cursor order.
    pub entries: Vec<DirEntry>,
    /// Whether this is the last page.
    pub end: bool,
    /// The directory itself, with the first page.
    pub dir: Option<Attr>,
}

/// One slice for one chunk of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceCommit {
    /// The file.
    pub ino: Ino,
    /// The chunk.
    pub index: u32,
    /// The slice; its `pos + len` grows the file's length where needed.
    pub slice: Slice,
    /// The time of the write.
    pub mtime: Timestamp,
}

/// Other records for the front of a chunk's list, which read the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// The file.
    pub ino: Ino,
    /// The chunk.
    pub index: u32,
    /// A slice id of its own: that of its first new slice, if it has any.
    pub id: SliceId,
    /// The records with which the list must begin.
    pub front: Vec<Slice>,
    /// How many of these stay as they are.
    pub keep: usize,
    /// What stands in the place of the others: new slices, whose blocks are in the store.
    pub merged: Vec<Slice>,
}

/// A range of slice ids: `[next, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceIds {
    /// The first free one.
    pub next: SliceId,
    /// Behind the last.
    pub end: SliceId,
}

/// fallocate(2)'s modes that the format can hold; others are `Unsupported`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallocate {
    /// Grow the file (mode 0).
    Grow,
    /// `KEEP_SIZE`: nothing to do in this format but the checks.
    KeepSize,
    /// `PUNCH_HOLE | KEEP_SIZE`.
    PunchHole,
    /// `ZERO_RANGE`; grows the file.
    ZeroRange,
    /// `ZERO_RANGE | KEEP_SIZE`.
    ZeroRangeKeepSize,
}

/// How [`Meta::setxattr`](crate::Meta::setxattr) treats one that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XattrMode {
    /// Make or replace.
    #[default]
    Any,
    /// `Exists` if it is there.
    Create,
    /// `NoAttribute` if it is not there.
    Replace,
}

/// Usage and limits in bytes and inodes. Without a limit the totals are large
/// figures as the peer shows them (1 PiB, 10 Mi inodes free).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// All bytes that the limit allows.
    pub total_bytes: u64,
    /// Bytes left.
    pub free_bytes: u64,
    /// Inodes in use.
    pub used_inodes: u64,
    /// Inodes left.
    pub free_inodes: u64,
}
