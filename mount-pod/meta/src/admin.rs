//! What administration needs beyond file system operations: looks at the whole
//! database, repairs, and work on whole trees.
//!
//! Everything here may run while clients of either kind use the volume. Scans and work on
//! trees are done in steps, each of which gets the default deadline where the call names
//! none; a tool that is killed leaves each step done or not done.

use async_trait::async_trait;
use carafe_types::{Attr, FileType, Ino, Result, Slice, SliceId};

use crate::{Call, Meta, QuotaUsage};

/// A chunk's list as a scan finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRecord {
    /// The file; it may have no name any more.
    pub ino: Ino,
    /// The chunk.
    pub index: u32,
    /// The list.
    pub slices: Vec<Slice>,
}

/// What a directory's own entries use, as its statistics keep it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirStat {
    /// The files' lengths in bytes.
    pub length: i64,
    /// Bytes in whole 4 KiB units.
    pub space: i64,
    /// Entries.
    pub inodes: i64,
}

/// What a tree holds; the directory at its top is one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeUsage {
    /// Everything but directories.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// The files' lengths in bytes.
    pub length: u64,
    /// Bytes in whole 4 KiB units.
    pub space: u64,
}

/// A file that nobody names any more and whose data is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletedFile {
    /// The file.
    pub ino: Ino,
    /// Its length in bytes.
    pub length: u64,
}

/// Something that is wrong with an entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryDefect {
    /// Its name.
    pub name: Vec<u8>,
    /// Its inode.
    pub ino: Ino,
    /// What its directory says that it is.
    pub kind: FileType,
    /// What is wrong.
    pub what: Defect,
}

/// What can be wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Its inode has no attributes.
    Missing,
    /// Its inode says that it lies in another directory.
    Parent(Ino),
    /// Its inode counts other names than there are.
    Names {
        /// What it counts.
        says: u32,
        /// What there is.
        found: u32,
    },
}

/// A directory, looked at as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirReport {
    /// Its attributes; `None` if they are missing.
    pub attr: Option<Attr>,
    /// The links that it has: itself, its name, and its directories' `..`.
    pub links: u32,
    /// Its statistics; `None` if there are none.
    pub stat: Option<DirStat>,
    /// What its statistics should say.
    pub counted: DirStat,
    /// Its directories by name.
    pub dirs: Vec<(Vec<u8>, Ino)>,
    /// What is wrong with its entries, the first hundred.
    pub defects: Vec<EntryDefect>,
    /// Whether it stood still while it was looked at; otherwise differences mean nothing.
    pub settled: bool,
}

impl DirReport {
    /// The links that its attributes count, where they are wrong.
    pub fn wrong_links(&self) -> Option<u32> {
        let says = self.attr.as_ref()?.nlink;
        (self.settled && says != self.links).then_some(says)
    }

    /// What its statistics lack of what was counted, where they are wrong.
    pub fn stat_gap(&self) -> Option<DirStat> {
        let stat = self.stat.unwrap_or_default();
        let gap = DirStat {
            length: self.counted.length - stat.length,
            space: self.counted.space - stat.space,
            inodes: self.counted.inodes - stat.inodes,
        };
        (self.settled && (self.stat.is_none() || gap != DirStat::default())).then_some(gap)
    }
}

/// How a tree is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// For good, whatever the volume's trash.
    pub skip_trash: bool,
    /// How many entries are removed at a time; at least 1.
    pub threads: usize,
}

/// How a tree is cloned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cloning {
    /// Owners, modes and times are the originals'; otherwise the caller's, and now.
    pub preserve: bool,
    /// Taken from the modes where they are not preserved.
    pub umask: u16,
}

/// Administration of a volume.
#[async_trait]
pub trait Admin: Meta {
    /// Shows every chunk's list, once or more. Each slice that has been in use from
    /// before the scan to its end is shown, also if its file is moved, copied or
    /// removed into the trash meanwhile, as far as the engine can: on Redis a slice is
    /// missed if the scan has passed the place of a copy that is made, and the original
    /// goes before the scan comes to it.
    async fn scan_chunks(
        &self,
        call: &Call,
        visit: &mut (dyn FnMut(ChunkRecord) + Send),
    ) -> Result<()>;
    /// The indexes of a file's chunks.
    async fn chunk_indexes(&self, call: &Call, ino: Ino) -> Result<Vec<u32>>;
    /// Slices that compaction replaced and that wait for the trash's time.
    async fn delayed_slices(&self, call: &Call) -> Result<Vec<(SliceId, u32)>>;
    /// Deleted files whose data is still there, at most `limit`.
    async fn deleted_files(&self, call: &Call, limit: usize) -> Result<Vec<DeletedFile>>;
    /// As [`Meta::expire_trash`], also while another client has the lease.
    async fn expire_trash_now(&self, call: &Call, limit: usize) -> Result<usize>;
    /// As [`Meta::clean_deleted_files`], also while another client has the lease.
    async fn clean_deleted_files_now(&self, call: &Call, limit: usize) -> Result<usize>;

    /// What a file or tree holds. Directories' statistics answer for their entries
    /// where there are any, unless `strict`; not `recursive`, a directory's own entries
    /// count, and its directories as one each.
    async fn usage(
        &self,
        call: &Call,
        ino: Ino,
        recursive: bool,
        strict: bool,
    ) -> Result<TreeUsage>;
    /// The paths of an inode from the root on, with a leading `/`; none if no name leads to it.
    async fn paths(&self, call: &Call, ino: Ino) -> Result<Vec<Vec<u8>>>;
    /// The directories that have a quota.
    async fn quotas(&self, call: &Call) -> Result<Vec<(Ino, QuotaUsage)>>;
    /// Adds to a quota's usage what was not booked, whatever the limits.
    async fn adjust_quota(&self, call: &Call, dir: Ino, bytes: i64, inodes: i64) -> Result<()>;

    /// Looks at a directory and its entries.
    async fn inspect_dir(&self, call: &Call, dir: Ino) -> Result<DirReport>;
    /// Sets a directory's links as `report` found them, or makes the attributes of one
    /// that has none, in `parent`. Answers whether it did: not if the directory changed since.
    async fn repair_dir(
        &self,
        call: &Call,
        dir: Ino,
        parent: Ino,
        report: &DirReport,
    ) -> Result<bool>;
    /// Adds `gap` to a directory's statistics, which are made if there are none.
    async fn adjust_dir_stat(&self, call: &Call, dir: Ino, gap: DirStat) -> Result<()>;

    /// Removes an entry and all below it; answers how many went. What is made in the
    /// tree meanwhile may keep it: `NotEmpty`.
    async fn remove_tree(&self, call: &Call, parent: Ino, name: &[u8], how: Removal)
    -> Result<u64>;
    /// Makes `name` a copy of a file or tree that shares its slices, and answers the
    /// inodes made. It appears whole. Data that clients have not committed yet is not in
    /// it; several names of one file become files of their own.
    async fn clone_tree(
        &self,
        call: &Call,
        source: Ino,
        parent: Ino,
        name: &[u8],
        how: Cloning,
    ) -> Result<u64>;
    /// Moves an entry of the trash (of the hour's directory `hour`) to `parent`; `Exists`
    /// if the name is taken. With `rebuild`, `parent` may be in the trash itself;
    /// otherwise that is `NotFound`.
    async fn restore(
        &self,
        call: &Call,
        hour: Ino,
        entry: &[u8],
        parent: Ino,
        name: &[u8],
        rebuild: bool,
    ) -> Result<()>;
}
