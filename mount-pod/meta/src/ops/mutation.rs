//! What a plan asks an engine to change.

use carafe_types::{Attr, FileType, Ino, SessionId, Slice, SliceId, Timestamp};

use crate::{Quota, VolumeRecord, ops::Counter};

/// One change of the database, as a value. How it lies in tables or keys is the
/// engine's; what it means is here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mutation {
    /// Writes the setting's JSON.
    SetSetting { json: String },
    /// Makes the counters of a new volume.
    InitCounters,
    /// Sets a counter.
    SetCounter { counter: Counter, value: i64 },

    /// Makes an inode.
    NewNode { ino: Ino, attr: Attr },
    /// Replaces an inode's attributes.
    SetNode { ino: Ino, attr: Attr },
    /// Removes an inode.
    DropNode { ino: Ino },
    /// Sets a directory's mtime and ctime and changes its links, whatever the
    /// rest of it is by then.
    TouchDir {
        ino: Ino,
        nlink: i32,
        time: Timestamp,
    },
    /// Makes an entry, or lets it name another inode.
    SetEntry {
        parent: Ino,
        name: Vec<u8>,
        kind: FileType,
        ino: Ino,
    },
    /// Removes an entry.
    DropEntry { parent: Ino, name: Vec<u8> },
    /// Counts the names that a directory holds of an inode with several
    /// (SQL knows from the entries).
    CountParent { ino: Ino, parent: Ino, delta: i64 },
    /// Forgets those counts.
    DropParents { ino: Ino },
    /// Writes a symbolic link's target.
    SetSymlink { ino: Ino, target: Vec<u8> },
    /// Removes it.
    DropSymlink { ino: Ino },

    /// Writes an extended attribute.
    SetXattr {
        ino: Ino,
        name: Vec<u8>,
        value: Vec<u8>,
    },
    /// Removes one.
    DropXattr { ino: Ino, name: Vec<u8> },
    /// Removes all of an inode.
    DropXattrs { ino: Ino },

    /// Appends a slice to a chunk's list.
    AppendSlice { ino: Ino, index: u32, slice: Slice },
    /// Puts `by` in the place of the first `count` slices of a chunk's list.
    ReplaceSlices {
        ino: Ino,
        index: u32,
        count: usize,
        by: Vec<Slice>,
    },
    /// Appends a hole over the whole of each chunk that is there, strictly between two.
    ZeroChunks { ino: Ino, after: u32, before: u32 },
    /// A slice that was never referred to gets its first reference.
    NewSlice { id: SliceId, size: u32 },
    /// Changes the references of a slice.
    RefSlice { id: SliceId, size: u32, delta: i64 },
    /// Forgets a slice whose objects are gone.
    DropSlice { id: SliceId, size: u32 },
    /// Removes a chunk's list.
    DropChunk { ino: Ino, index: u32 },
    /// Lets slices wait for the trash's time.
    AddDelayed {
        key: DelayedKey,
        slices: Vec<(SliceId, u32)>,
    },
    /// Forgets slices that wait for the trash's time.
    DropDelayed { key: DelayedKey },

    /// Keeps a nameless inode for a session that has it open.
    Sustain { session: SessionId, ino: Ino },
    /// Ends that.
    Unsustain { session: SessionId, ino: Ino },
    /// Puts a file's data on the list of what is to be taken apart.
    AddDeleted {
        ino: Ino,
        length: u64,
        time: Timestamp,
    },
    /// Takes it off.
    DropDeleted { ino: Ino, length: u64 },

    /// Makes a directory's statistics, all zero.
    InitDirStat { dir: Ino },
    /// Adds to a directory's statistics, if it has any.
    DirStat {
        dir: Ino,
        length: i64,
        space: i64,
        inodes: i64,
    },
    /// Removes a directory's statistics.
    DropDirStat { dir: Ino },
    /// Adds to the volume's usage; `NoSpace` if a growth passes a limit (0: none).
    Use {
        space: i64,
        inodes: i64,
        capacity: u64,
        max_inodes: u64,
    },
    /// Adds to a quota's usage, if it is there; `QuotaExceeded` if a growth passes its limit.
    UseQuota { dir: Ino, space: i64, inodes: i64 },
    /// Sets a quota's limits; usage only where it is given.
    SetQuota {
        dir: Ino,
        quota: Quota,
        used: Option<(i64, i64)>,
    },
    /// Removes a directory's quota.
    DropQuota { dir: Ino },

    /// Sets a BSD lock.
    SetFlock {
        ino: Ino,
        session: SessionId,
        owner: u64,
        write: bool,
    },
    /// Removes one.
    DropFlock {
        ino: Ino,
        session: SessionId,
        owner: u64,
    },
    /// Sets an owner's POSIX locks.
    SetPlock {
        ino: Ino,
        session: SessionId,
        owner: u64,
        records: Vec<u8>,
    },
    /// Removes them.
    DropPlock {
        ino: Ino,
        session: SessionId,
        owner: u64,
    },

    /// Makes or replaces a session: JSON, and when it expires (seconds).
    SetSession {
        session: SessionId,
        expires: i64,
        info: String,
    },
    /// Extends a session.
    ExtendSession { session: SessionId, expires: i64 },
    /// Removes a session, its locks and its idempotency records.
    DropSession { session: SessionId },

    /// Makes or replaces a volume's record.
    SetVolume { record: VolumeRecord },
    /// Removes a volume's record.
    DropVolume { record: VolumeRecord },
}

/// Names a list of slices that wait for the trash's time: the slice that replaced
/// them and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DelayedKey {
    /// The slice that compaction wrote.
    pub(crate) id: u64,
    /// When, in seconds.
    pub(crate) time: i64,
}
