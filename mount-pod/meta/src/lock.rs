//! BSD and POSIX locks.

/// What a lock allows others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Other readers.
    Read,
    /// Nobody.
    Write,
    /// No lock: removes one.
    Unlock,
}

/// Bytes `start` to `end`, both inclusive, as the kernel counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    /// The first byte.
    pub start: u64,
    /// The last byte; `i64::MAX` as u64 means to the end of any file.
    pub end: u64,
}

/// A POSIX lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLock {
    /// What it allows.
    pub kind: LockKind,
    /// What it covers.
    pub range: LockRange,
    /// Its holder's process.
    pub pid: u32,
}
