//! The file system's metadata: a trait that speaks in file system operations,
//! and the engines that hold it.
//!
//! An **engine** is a database; a **session** is one client's lease on it; a
//! **call** is one request's context (who asks, until when, and under which
//! idempotency key). A **volume** here is a sub-directory that a claim owns.

mod address;
mod admin;
mod call;
mod client;
mod connect;
mod connection;
mod engine;
mod entry;
#[cfg(test)]
mod fuzz;
mod guesses;
mod kv;
mod line;
mod lock;
mod ops;
mod quota;
mod record;
mod redis;
mod retry;
mod session;
mod sql;
mod sqlite;
mod tls;
mod volume;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use carafe_types::{Acl, AclKind, Attr, Format, Ino, Result, Secret, SessionId, Slice, SliceId};

pub use admin::{
    Admin, ChunkRecord, Cloning, Defect, DeletedFile, DirReport, DirStat, EntryDefect, Removal,
    TreeUsage,
};
pub use call::{Call, OpKey};
pub use connect::{connect, connect_admin};
pub use connection::{ConnectError, ConnectOptions, RenewError};
pub use entry::{
    Compaction, Cursor, DirEntry, DirPage, Fallocate, NewNode, RenameFlags, SetAttr, SliceCommit,
    SliceIds, StatFs, XattrMode,
};
pub use lock::{FileLock, LockKind, LockRange};
pub use ops::volumes::{TOMBSTONES, check_path};
pub use quota::{Quota, QuotaUsage};
pub use session::{SessionInfo, SessionRecord};
pub use volume::{NewVolume, VolumeError, VolumeRecord};

/// The operations of a file system's metadata. One implementation a family of
/// engines; every one passes the same conformance suite.
///
/// The kernel checks permissions (`default_permissions`); an engine checks only
/// what needs the transaction: existence, types, quotas, sticky semantics that
/// the kernel cannot know. Each mutation clears and inherits suid, sgid and
/// groups as POSIX asks. Names are bytes, 1 to 255 of them, without `/`.
///
/// Concurrent calls are serialised by the engine; a lost connection or a failed
/// serialisation is retried until the call's deadline. With an [`OpKey`] in the
/// call, a mutation takes effect once however often it is sent.
#[async_trait]
pub trait Meta: Send + Sync + 'static {
    /// The engine's name and place without secrets, for people: `redis://host:6379/1`.
    fn name(&self) -> String;

    // The volume as a whole.

    /// Writes the setting and the root directory. An equal setting changes
    /// nothing; another UUID on a formatted engine is [`Error::Exists`](carafe_types::Error::Exists) unless `force`.
    async fn format(&self, call: &Call, format: &Format, force: bool) -> Result<()>;
    /// The setting, secrets opened. `NotFound` if the engine is not formatted.
    async fn load(&self, call: &Call) -> Result<Format>;
    /// Warnings about what this engine promises less than a user would expect
    /// (Redis without AOF, eviction on …), one sentence each with what to do.
    async fn preflight(&self, call: &Call) -> Result<Vec<String>>;
    /// Logs in with what `url` and `password` say from the next connection on, as
    /// [`connect`] reads them, and makes one now. Operations under way or waiting are
    /// not failed by it. Until the new login works, the former one is used; see
    /// [`RenewError`]. Engines without a login have nothing to do.
    async fn renew_login(&self, url: &str, password: Option<&Secret>) -> Result<(), RenewError>;
    /// Usage and limits, of the whole volume or of the nearest quota above `root`.
    async fn statfs(&self, call: &Call, root: Ino) -> Result<StatFs>;

    // Sessions.

    /// Opens a session that other clients see; ends after five missed heartbeats.
    async fn new_session(&self, call: &Call, info: &SessionInfo) -> Result<SessionId>;
    /// Extends the session, flushes usage counters, reloads limits. `Stale` if
    /// the session was cleaned or the volume was formatted anew.
    async fn heartbeat(&self, call: &Call, session: SessionId) -> Result<Format>;
    /// Puts a session that [`Meta::heartbeat`] found `Stale` on record again, under
    /// its old id, so that its client goes on: opens and locks count again from now
    /// on. What others cleaned is lost: files without a name that were open are gone,
    /// and its locks may be somebody else's by now. `Stale` if the volume is another.
    async fn restore_session(
        &self,
        call: &Call,
        session: SessionId,
        info: &SessionInfo,
    ) -> Result<()>;
    /// Ends the session: its locks and sustained inodes go.
    async fn close_session(&self, call: &Call, session: SessionId) -> Result<()>;
    /// All sessions on record.
    async fn sessions(&self, call: &Call) -> Result<Vec<SessionRecord>>;

    // Names.

    /// The entry `name` of a directory; `.` and `..` are not names here.
    async fn lookup(&self, call: &Call, parent: Ino, name: &[u8]) -> Result<(Ino, Attr)>;
    /// Walks `path` (relative, `/`-separated, no symlinks followed) from `from`.
    async fn resolve(&self, call: &Call, from: Ino, path: &[u8]) -> Result<(Ino, Attr)>;
    /// Makes an entry of any type. `Exists` if the name is taken.
    async fn create(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        node: &NewNode,
    ) -> Result<(Ino, Attr)>;
    /// Opens `name`, making it if it is not there: one trip for O_CREAT.
    /// With `exclusive`, a name that is taken is `Exists`; `truncate` cuts an
    /// existing file. The flag says whether it was made.
    async fn create_open(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        node: &NewNode,
        exclusive: bool,
        truncate: bool,
    ) -> Result<(Ino, Attr, bool)>;
    /// A symbolic link's target.
    async fn readlink(&self, call: &Call, ino: Ino) -> Result<Vec<u8>>;
    /// Another name for a file (not for a directory: `NotPermitted`).
    async fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr>;
    /// Removes a name. The last one sends the inode to the trash, or, if a
    /// session has it open, sustains it until that closes.
    async fn unlink(&self, call: &Call, parent: Ino, name: &[u8]) -> Result<()>;
    /// Removes an empty directory.
    async fn rmdir(&self, call: &Call, parent: Ino, name: &[u8]) -> Result<()>;
    /// Moves an entry, replacing what the flags and POSIX allow.
    async fn rename(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(Ino, Attr)>;
    /// A page of a directory from a cursor: at most `limit` entries, with
    /// attributes if asked. Cursors are stateless and stable under change.
    async fn readdir(
        &self,
        call: &Call,
        ino: Ino,
        from: Cursor,
        limit: usize,
        attrs: bool,
    ) -> Result<DirPage>;

    // Inodes.

    /// An inode's attributes.
    async fn getattr(&self, call: &Call, ino: Ino) -> Result<Attr>;
    /// The same, where attributes that are less than `trust` old will do: of a directory,
    /// those that the engine told then, with what this client changed since. Also says how
    /// old they are.
    async fn getattr_lately(
        &self,
        call: &Call,
        ino: Ino,
        trust: Duration,
    ) -> Result<(Attr, Duration)> {
        let _ = trust;
        Ok((self.getattr(call, ino).await?, Duration::ZERO))
    }
    /// Changes what `set` names, in one transaction; a size truncates.
    async fn setattr(&self, call: &Call, ino: Ino, set: &SetAttr) -> Result<Attr>;
    /// Counts an open of this session (by the inode's first handle in this client).
    async fn open(&self, call: &Call, ino: Ino) -> Result<Attr>;
    /// As [`Meta::open`], with the slices of the file's first chunk, which a reader asks
    /// for next; they are no older than the attributes.
    async fn open_to_read(&self, call: &Call, ino: Ino) -> Result<(Attr, Arc<[Slice]>)>;
    /// As [`Meta::open`], for a caller that knows the attributes well enough: the engine
    /// is not asked.
    fn count_open(&self, call: &Call, ino: Ino);
    /// The inode's last handle in this client is closed: a sustained one goes.
    async fn close(&self, call: &Call, ino: Ino) -> Result<()>;
    /// An extended attribute's value.
    async fn getxattr(&self, call: &Call, ino: Ino, name: &[u8]) -> Result<Vec<u8>>;
    /// The names of all extended attributes.
    async fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<Vec<u8>>>;
    /// Sets an extended attribute.
    async fn setxattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()>;
    /// Removes an extended attribute; `NoAttribute` if it is not there.
    async fn removexattr(&self, call: &Call, ino: Ino, name: &[u8]) -> Result<()>;

    /// An inode's access control list of a kind; `NoAttribute` if it has none,
    /// `Unsupported` on a volume without lists.
    async fn acl(&self, call: &Call, ino: Ino, kind: AclKind) -> Result<Acl>;
    /// Sets or removes (`None`) one. An access list sets the mode's permission bits too;
    /// with `kill_sgid` it takes the set-group-id bit away. A default list of what is no
    /// directory is `PermissionDenied`.
    async fn set_acl(
        &self,
        call: &Call,
        ino: Ino,
        kind: AclKind,
        list: Option<&Acl>,
        kill_sgid: bool,
    ) -> Result<Attr>;

    // Data.

    /// A chunk's slice list as it stands; empty if it has none.
    async fn read_chunk(&self, call: &Call, ino: Ino, index: u32) -> Result<Arc<[Slice]>>;
    /// Takes a batch of slice ids that nobody else gets.
    async fn take_slice_ids(&self, call: &Call) -> Result<SliceIds>;
    /// Appends slices to chunks of one or several files and grows their lengths,
    /// all or nothing per file; answers each file's new attributes, in the order of
    /// the inodes' first appearance. An inode that is gone is `NotFound` in its place.
    async fn commit(
        &self,
        call: &Call,
        commits: &[SliceCommit],
    ) -> Result<Vec<(Ino, Result<Attr>)>>;
    /// Replaces the front of a chunk's list by records that read the same; what others
    /// append meanwhile stays behind them. Answers whether it did: not if the list does
    /// not begin so any more, and then nothing refers to the new slices. What was
    /// replaced loses its references, at once or after the trash's time.
    async fn compact(&self, call: &Call, compaction: &Compaction) -> Result<bool>;
    /// fallocate(2) as far as the format can hold it.
    async fn fallocate(
        &self,
        call: &Call,
        ino: Ino,
        how: Fallocate,
        offset: u64,
        len: u64,
    ) -> Result<Attr>;
    /// Copies by slice reference; no data moves. Answers the bytes copied and the
    /// destination's attributes.
    async fn copy_range(
        &self,
        call: &Call,
        from: Ino,
        from_offset: u64,
        to: Ino,
        to_offset: u64,
        len: u64,
    ) -> Result<(u64, Attr)>;
    /// Makes all that was answered before this call durable, as far as the engine can.
    async fn sync(&self, call: &Call) -> Result<()>;

    // Locks. `owner` is the kernel's lock owner; the session is the call's.

    /// BSD lock of a whole file; `WouldBlock` if someone else's stands in the way.
    async fn flock(&self, call: &Call, ino: Ino, owner: u64, kind: LockKind) -> Result<()>;
    /// The first POSIX lock that conflicts with `lock`, if any.
    async fn getlk(
        &self,
        call: &Call,
        ino: Ino,
        owner: u64,
        lock: FileLock,
    ) -> Result<Option<FileLock>>;
    /// Sets or removes a POSIX lock; `WouldBlock` as for [`Meta::flock`]. Waiting
    /// is the caller's: it asks again with back-off until interrupted.
    async fn setlk(&self, call: &Call, ino: Ino, owner: u64, lock: FileLock) -> Result<()>;

    // Quotas of directories.

    /// Sets or replaces a directory's quota; its usage is counted now if it is new.
    async fn set_quota(&self, call: &Call, ino: Ino, quota: Quota) -> Result<()>;
    /// A directory's quota and usage, if it has one.
    async fn quota(&self, call: &Call, ino: Ino) -> Result<Option<QuotaUsage>>;
    /// Removes a directory's quota.
    async fn remove_quota(&self, call: &Call, ino: Ino) -> Result<()>;

    // Volumes of claims: what the CSI controller needs, each in one transaction.

    /// Makes the directory, its quota and its record. Idempotent for equal arguments.
    async fn create_volume(
        &self,
        call: &Call,
        volume: &NewVolume,
    ) -> Result<VolumeRecord, VolumeError>;
    /// The record of a volume by id.
    async fn volume(&self, call: &Call, id: &str) -> Result<Option<VolumeRecord>>;
    /// All records, in pages by id.
    async fn volumes(
        &self,
        call: &Call,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<VolumeRecord>>;
    /// Changes the quota of a volume's directory and its record's size.
    async fn resize_volume(
        &self,
        call: &Call,
        id: &str,
        capacity: u64,
    ) -> Result<VolumeRecord, VolumeError>;
    /// Removes the record and moves the directory into the tombstones if no other
    /// record shares it. Idempotent: `Ok` if there is no record.
    async fn delete_volume(&self, call: &Call, id: &str) -> Result<(), VolumeError>;

    // Background work. Each step is bounded and takes its lease in the database.

    /// Cleans sessions that expired; answers how many.
    async fn clean_stale_sessions(&self, call: &Call) -> Result<usize>;
    /// Removes trash older than the setting allows and tombstones, `limit` entries a step; answers how many.
    async fn expire_trash(&self, call: &Call, limit: usize) -> Result<usize>;
    /// Takes deleted files apart: answers slices whose blocks may go now.
    async fn clean_deleted_files(&self, call: &Call, limit: usize) -> Result<usize>;
    /// Slices that no chunk refers to any more, whose objects must be deleted.
    async fn dead_slices(&self, call: &Call, limit: usize) -> Result<Vec<(SliceId, u32)>>;
    /// The objects of these slices are gone: forget them.
    async fn forget_slices(&self, call: &Call, slices: &[(SliceId, u32)]) -> Result<()>;
}
