//! From the file system's errors to errno, in the one place that does it.

use carafe_types::Error;

/// The errno that the application gets.
pub(crate) fn errno(error: &Error) -> i32 {
    match error {
        Error::NotFound => libc::ENOENT,
        Error::Exists => libc::EEXIST,
        Error::NotDirectory => libc::ENOTDIR,
        Error::IsDirectory => libc::EISDIR,
        Error::NotEmpty => libc::ENOTEMPTY,
        Error::PermissionDenied => libc::EACCES,
        Error::NotPermitted => libc::EPERM,
        Error::Invalid => libc::EINVAL,
        Error::NameTooLong => libc::ENAMETOOLONG,
        Error::TooLarge => libc::EFBIG,
        Error::NoSpace => libc::ENOSPC,
        Error::QuotaExceeded => libc::EDQUOT,
        Error::ReadOnly => libc::EROFS,
        Error::CrossDevice => libc::EXDEV,
        Error::TooManyLinks => libc::EMLINK,
        Error::BadHandle => libc::EBADF,
        Error::WouldBlock => libc::EAGAIN,
        Error::Interrupted => libc::EINTR,
        Error::NoAttribute => libc::ENODATA,
        Error::OutOfRange => libc::ERANGE,
        Error::NoSuchOffset => libc::ENXIO,
        Error::Deadlock => libc::EDEADLK,
        Error::Unsupported => libc::EOPNOTSUPP,
        Error::NotImplemented => libc::ENOSYS,
        // Applications know EIO and seldom ETIMEDOUT, but a time-out can be told
        // from damage, and retried.
        Error::TimedOut(_) => libc::ETIMEDOUT,
        Error::Io(_) => libc::EIO,
        Error::Stale(_) => libc::ESTALE,
    }
}

/// Whether it is the machinery's fault, and worth a line in the log.
pub(crate) fn is_failure(error: &Error) -> bool {
    matches!(error, Error::TimedOut(_) | Error::Io(_) | Error::Stale(_))
}
