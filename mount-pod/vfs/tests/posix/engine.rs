//! An engine that is late, fails, or loses its answers when told to; all else is SQLite's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use carafe_meta::{
    Call, Compaction, Cursor, DirPage, Fallocate, FileLock, LockKind, Meta, NewNode, NewVolume,
    Quota, QuotaUsage, RenameFlags, RenewError, SessionInfo, SessionRecord, SetAttr, SliceCommit,
    SliceIds, StatFs, VolumeError, VolumeRecord, XattrMode,
};
use carafe_types::{
    Acl, AclKind, Attr, Error, Format, Ino, Result, Secret, SessionId, Slice, SliceId,
};
use tokio::sync::Notify;

/// How an engine behaves.
#[derive(Debug, Default)]
pub(crate) struct Mood {
    /// Commits set out late, so that other operations overtake them.
    pub(crate) late: AtomicBool,
    /// Commits fail.
    pub(crate) fail: AtomicBool,
    /// So many commits are done, and their answers lost.
    pub(crate) lose_answers: AtomicU64,
    /// So many compactions are done, and their answers lost.
    pub(crate) lose_compactions: AtomicU64,
    /// Compactions change nothing, as if somebody else had been first.
    pub(crate) refuse_compactions: AtomicBool,
    /// How many did.
    pub(crate) refused: AtomicU64,
    /// The next answer but a `getattr`'s is kept back once it is known.
    pub(crate) hold: AtomicBool,
    /// One was kept back.
    pub(crate) held: Notify,
    /// It may go on.
    pub(crate) go: Notify,
    /// The slices of all commits that were answered or lost.
    pub(crate) commits: AtomicU64,
}

pub(crate) struct Engine {
    pub(crate) below: Arc<dyn Meta>,
    pub(crate) mood: Arc<Mood>,
}

impl Engine {
    async fn moody_commit(
        &self,
        call: &Call,
        commits: &[SliceCommit],
    ) -> Result<Vec<(Ino, Result<Attr>)>> {
        if self.mood.fail.load(Ordering::SeqCst) {
            return Err(Error::Io("told to fail".into()));
        }
        let number = self.mood.commits.fetch_add(1, Ordering::SeqCst);
        if self.mood.late.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_micros(number * 7919 % 3000)).await;
        }
        let answer = self.below.commit(call, commits).await;
        let lose = |left: u64| left.checked_sub(1);
        match self
            .mood
            .lose_answers
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose)
        {
            Ok(_) => Err(Error::TimedOut("told to lose the answer".into())),
            Err(_) => answer,
        }
    }
}

impl Engine {
    async fn moody_compact(&self, call: &Call, compaction: &Compaction) -> Result<bool> {
        if self.mood.refuse_compactions.load(Ordering::SeqCst) {
            self.mood.refused.fetch_add(1, Ordering::SeqCst);
            return Ok(false);
        }
        let answer = self.below.compact(call, compaction).await;
        let lose = |left: u64| left.checked_sub(1);
        match self
            .mood
            .lose_compactions
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose)
        {
            Ok(_) => Err(Error::TimedOut("told to lose the answer".into())),
            Err(_) => answer,
        }
    }
}

impl Mood {
    /// Keeps an answer back while other operations overtake it.
    async fn keep_back<T>(&self, what: &str, answer: T) -> T {
        if what != "getattr" && self.hold.swap(false, Ordering::SeqCst) {
            self.held.notify_one();
            self.go.notified().await;
        }
        answer
    }
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Meta for Engine {
            fn name(&self) -> String {
                self.below.name()
            }

            fn count_open(&self, call: &Call, ino: Ino) {
                self.below.count_open(call, ino);
            }

            async fn renew_login(&self, url: &str, password: Option<&Secret>) -> Result<(), RenewError> {
                self.below.renew_login(url, password).await
            }

            async fn commit(&self, call: &Call, commits: &[SliceCommit]) -> Result<Vec<(Ino, Result<Attr>)>> {
                self.moody_commit(call, commits).await
            }

            async fn compact(&self, call: &Call, compaction: &Compaction) -> Result<bool> {
                self.moody_compact(call, compaction).await
            }

            $(async fn $name(&self, call: &Call, $($arg: $kind),*) -> $answer {
                let answer = self.below.$name(call, $($arg),*).await;
                self.mood.keep_back(stringify!($name), answer).await
            })*
        }
    };
}

forward! {
    format(format: &Format, force: bool) -> Result<()>;
    load() -> Result<Format>;
    preflight() -> Result<Vec<String>>;
    statfs(root: Ino) -> Result<StatFs>;
    new_session(info: &SessionInfo) -> Result<SessionId>;
    heartbeat(session: SessionId) -> Result<Format>;
    restore_session(session: SessionId, info: &SessionInfo) -> Result<()>;
    close_session(session: SessionId) -> Result<()>;
    sessions() -> Result<Vec<SessionRecord>>;
    lookup(parent: Ino, name: &[u8]) -> Result<(Ino, Attr)>;
    resolve(from: Ino, path: &[u8]) -> Result<(Ino, Attr)>;
    create(parent: Ino, name: &[u8], node: &NewNode) -> Result<(Ino, Attr)>;
    create_open(parent: Ino, name: &[u8], node: &NewNode, exclusive: bool, truncate: bool) -> Result<(Ino, Attr, bool)>;
    readlink(ino: Ino) -> Result<Vec<u8>>;
    link(ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr>;
    unlink(parent: Ino, name: &[u8]) -> Result<()>;
    rmdir(parent: Ino, name: &[u8]) -> Result<()>;
    rename(parent: Ino, name: &[u8], new_parent: Ino, new_name: &[u8], flags: RenameFlags) -> Result<(Ino, Attr)>;
    readdir(ino: Ino, from: Cursor, limit: usize, attrs: bool) -> Result<DirPage>;
    getattr(ino: Ino) -> Result<Attr>;
    setattr(ino: Ino, set: &SetAttr) -> Result<Attr>;
    open(ino: Ino) -> Result<Attr>;
    open_to_read(ino: Ino) -> Result<(Attr, Arc<[Slice]>)>;
    close(ino: Ino) -> Result<()>;
    getxattr(ino: Ino, name: &[u8]) -> Result<Vec<u8>>;
    listxattr(ino: Ino) -> Result<Vec<Vec<u8>>>;
    setxattr(ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()>;
    removexattr(ino: Ino, name: &[u8]) -> Result<()>;
    acl(ino: Ino, kind: AclKind) -> Result<Acl>;
    set_acl(ino: Ino, kind: AclKind, list: Option<&Acl>, kill_sgid: bool) -> Result<Attr>;
    read_chunk(ino: Ino, index: u32) -> Result<Arc<[Slice]>>;
    take_slice_ids() -> Result<SliceIds>;
    fallocate(ino: Ino, how: Fallocate, offset: u64, len: u64) -> Result<Attr>;
    copy_range(from: Ino, from_offset: u64, to: Ino, to_offset: u64, len: u64) -> Result<(u64, Attr)>;
    sync() -> Result<()>;
    flock(ino: Ino, owner: u64, kind: LockKind) -> Result<()>;
    getlk(ino: Ino, owner: u64, lock: FileLock) -> Result<Option<FileLock>>;
    setlk(ino: Ino, owner: u64, lock: FileLock) -> Result<()>;
    set_quota(ino: Ino, quota: Quota) -> Result<()>;
    quota(ino: Ino) -> Result<Option<QuotaUsage>>;
    remove_quota(ino: Ino) -> Result<()>;
    create_volume(volume: &NewVolume) -> Result<VolumeRecord, VolumeError>;
    volume(id: &str) -> Result<Option<VolumeRecord>>;
    volumes(after: Option<&str>, limit: usize) -> Result<Vec<VolumeRecord>>;
    resize_volume(id: &str, capacity: u64) -> Result<VolumeRecord, VolumeError>;
    delete_volume(id: &str) -> Result<(), VolumeError>;
    clean_stale_sessions() -> Result<usize>;
    expire_trash(limit: usize) -> Result<usize>;
    clean_deleted_files(limit: usize) -> Result<usize>;
    dead_slices(limit: usize) -> Result<Vec<(SliceId, u32)>>;
    forget_slices(slices: &[(SliceId, u32)]) -> Result<()>;
}
