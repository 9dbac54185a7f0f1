//! What a file system operation can answer instead of success.
//!
//! The FUSE adapter maps each to an errno in one exhaustive place; the CSI
//! driver maps each to a gRPC code.

/// The result of a file system operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file system operation was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// ENOENT: no such entry, or the inode is gone.
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST: the name is taken.
    #[error("file exists")]
    Exists,
    /// ENOTDIR: a directory was needed.
    #[error("not a directory")]
    NotDirectory,
    /// EISDIR: a file was needed.
    #[error("is a directory")]
    IsDirectory,
    /// ENOTEMPTY: the directory has entries.
    #[error("directory not empty")]
    NotEmpty,
    /// EACCES: the caller's identity does not allow it.
    #[error("permission denied")]
    PermissionDenied,
    /// EPERM: nobody may do this here.
    #[error("operation not permitted")]
    NotPermitted,
    /// EINVAL: an argument makes no sense.
    #[error("invalid argument")]
    Invalid,
    /// ENAMETOOLONG: over 255 bytes for a name, 4096 for a symlink's target.
    #[error("name too long")]
    NameTooLong,
    /// EFBIG: the file would pass the format's limit.
    #[error("file too large")]
    TooLarge,
    /// ENOSPC: the volume's capacity or inode limit is reached.
    #[error("no space left on the volume")]
    NoSpace,
    /// EDQUOT: a directory's quota is reached.
    #[error("disk quota exceeded")]
    QuotaExceeded,
    /// EROFS: the mount is read-only.
    #[error("read-only file system")]
    ReadOnly,
    /// EXDEV: the two places are in different worlds (a quota boundary, the trash).
    #[error("cross-device link")]
    CrossDevice,
    /// EMLINK: too many links.
    #[error("too many links")]
    TooManyLinks,
    /// EBADF: the handle is not open, or not open for this.
    #[error("bad file handle")]
    BadHandle,
    /// EAGAIN: a lock is held by someone else.
    #[error("resource temporarily unavailable")]
    WouldBlock,
    /// EINTR: the caller was interrupted while it waited.
    #[error("interrupted")]
    Interrupted,
    /// ENODATA: no such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// ERANGE: the caller's buffer is too small.
    #[error("result too large")]
    OutOfRange,
    /// ENXIO: seek beyond the last data or hole.
    #[error("no such offset")]
    NoSuchOffset,
    /// EDEADLK: waiting for the lock would never end.
    #[error("deadlock")]
    Deadlock,
    /// EOPNOTSUPP: the format or this build cannot do it.
    #[error("operation not supported")]
    Unsupported,
    /// ENOSYS: not an operation of this file system; the kernel stops asking.
    #[error("function not implemented")]
    NotImplemented,
    /// ETIMEDOUT: the deadline passed before the engine or store answered.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// EIO: the engine or store failed; the text says what and never holds a secret.
    #[error("input/output error: {0}")]
    Io(String),
    /// ESTALE: the volume was formatted anew, or the session was cleaned by others.
    #[error("stale: {0}")]
    Stale(String),
}
