//! What a plan may ask of the database.

use carafe_types::{Attr, Error, FileType, Ino, SessionId, Slice, SliceId};

use crate::{DirStat, QuotaUsage, VolumeRecord, ops::DelayedKey};

/// Why a plan stopped.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stop {
    /// The operation ends with this error, and nothing changes.
    Answer(Error),
    /// Something must be fetched first: the engine does so and runs the plan again.
    Missing,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Answer(error)
    }
}

/// The result of a read.
pub(crate) type Read<T> = Result<T, Stop>;

/// A directory's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The type that the entry names.
    pub(crate) kind: FileType,
    /// The inode.
    pub(crate) ino: Ino,
}

/// A BSD lock on record: `write` or else read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlockRow {
    /// The holder's session.
    pub(crate) session: SessionId,
    /// The holder.
    pub(crate) owner: u64,
    /// Whether it is exclusive.
    pub(crate) write: bool,
}

/// The POSIX locks of one owner, as the format's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlockRow {
    /// The holder's session.
    pub(crate) session: SessionId,
    /// The holder.
    pub(crate) owner: u64,
    /// The records, 24 bytes each.
    pub(crate) records: Vec<u8>,
}

/// The volume's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Counter {
    /// The next inode number (Redis: the last).
    NextInode,
    /// The next slice id (Redis: the last).
    NextChunk,
    /// The last session.
    NextSession,
    /// The last of the trash's directories.
    NextTrash,
    /// Bytes in use.
    UsedSpace,
    /// Inodes in use.
    TotalInodes,
    /// When stale sessions were cleaned last.
    LastCleanupSessions,
    /// When deleted files were taken apart last.
    LastCleanupFiles,
    /// When the trash was expired last.
    LastCleanupTrash,
}

impl Counter {
    /// The format's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NextInode => "nextInode",
            Self::NextChunk => "nextChunk",
            Self::NextSession => "nextSession",
            Self::NextTrash => "nextTrash",
            Self::UsedSpace => "usedSpace",
            Self::TotalInodes => "totalInodes",
            Self::LastCleanupSessions => "lastCleanupSessions",
            Self::LastCleanupFiles => "lastCleanupFiles",
            Self::LastCleanupTrash => "lastCleanupTrash",
        }
    }
}

/// What a plan will ask for: lets an engine with a network fetch it in one trip.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Want {
    /// An inode.
    Node(Ino),
    /// An entry, and the inode it names.
    EntryNode(Ino, Vec<u8>),
    /// Whether the directory that an entry names has entries, with all of [`Want::EntryNode`].
    EntryDir(Ino, Vec<u8>),
    /// A chunk's slices.
    Chunk(Ino, u32),
    /// A slice's references.
    Slice(SliceId, u32),
}

/// The database as a plan sees it. What is read through it is guarded: if another
/// client changes it before the mutations are applied, the plan runs again.
pub(crate) trait Reads {
    /// Fetches together what the plan is about to ask for.
    fn prefetch(&self, _wants: &[Want]) -> Read<()> {
        Ok(())
    }
    /// The setting's JSON.
    fn setting(&self) -> Read<Option<String>>;
    /// An inode.
    fn node(&self, ino: Ino) -> Read<Option<Attr>>;
    /// A directory, guarded only in what its entries depend on: type, mode, owners,
    /// flags, parent. Its times and links may be out of date.
    fn dir(&self, ino: Ino) -> Read<Option<Attr>>;
    /// An inode's parent, unguarded.
    fn parent(&self, ino: Ino) -> Read<Option<Ino>>;
    /// An entry of a directory.
    fn entry(&self, parent: Ino, name: &[u8]) -> Read<Option<Entry>>;
    /// Whether a directory has entries.
    fn has_entries(&self, ino: Ino) -> Read<bool>;
    /// The directories of an inode with several names, and how many each holds.
    fn parents(&self, ino: Ino) -> Read<Vec<(Ino, i64)>>;
    /// A symbolic link's target.
    fn symlink(&self, ino: Ino) -> Read<Option<Vec<u8>>>;
    /// An extended attribute.
    fn xattr(&self, ino: Ino, name: &[u8]) -> Read<Option<Vec<u8>>>;
    /// The names of an inode's extended attributes.
    fn xattr_names(&self, ino: Ino) -> Read<Vec<Vec<u8>>>;
    /// A chunk's slices.
    fn chunk(&self, ino: Ino, index: u32) -> Read<Vec<Slice>>;
    /// The first `count` of a chunk's slices, or all there are; what follows them is
    /// not guarded.
    fn chunk_front(&self, ino: Ino, index: u32, count: usize) -> Read<Vec<Slice>>;
    /// An inode's BSD locks.
    fn flocks(&self, ino: Ino) -> Read<Vec<FlockRow>>;
    /// An inode's POSIX locks.
    fn plocks(&self, ino: Ino) -> Read<Vec<PlockRow>>;
    /// A counter; 0 if it was never set.
    fn counter(&self, counter: Counter) -> Read<i64>;
    /// A directory's quota.
    fn quota(&self, ino: Ino) -> Read<Option<QuotaUsage>>;
    /// Whether a directory has statistics.
    fn has_dir_stat(&self, dir: Ino) -> Read<bool>;
    /// A directory's statistics, unguarded.
    fn dir_stat(&self, dir: Ino) -> Read<Option<DirStat>>;
    /// Slices that wait for the trash's time, if they still do; of a long list, those
    /// that one transaction may take off it.
    fn delayed(&self, key: DelayedKey) -> Read<Option<Vec<(SliceId, u32)>>>;
    /// Whether a session is on record.
    fn has_session(&self, session: SessionId) -> Read<bool>;
    /// How often a slice is referred to: 0 or less means not at all.
    fn slice_refs(&self, id: SliceId, size: u32) -> Read<i64>;
    /// A volume's record.
    fn volume(&self, id: &str) -> Read<Option<VolumeRecord>>;
    /// The volumes whose directory is `path`.
    fn volumes_at(&self, path: &str) -> Read<Vec<VolumeRecord>>;
}
