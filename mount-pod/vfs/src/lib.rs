//! The file system as a library: handles, reader, writer, and one file for each
//! family of POSIX operations. It knows nothing of FUSE.
//!
//! Vocabulary:
//!
//! - a **call** says who asks ([`Call`]); every operation takes one;
//! - a **handle** is an open file or directory, by number;
//! - a **file** is what this client knows of an inode that it has open or that
//!   has unwritten data: committed attributes, cached slice lists, dirty logs;
//! - a **log** is a slice that is being made: bytes in pages of the shared pool,
//!   in the order in which they were written, and **pieces** that say where in
//!   the chunk they belong. Its full blocks upload while it grows;
//! - a log is **sealed** when no byte is added to it any more, **ready** when all
//!   its blocks are in the store, and gone when the metadata has its record;
//! - a **barrier** keeps commits and writes of one file away from an operation
//!   that must be ordered among them (truncate, fallocate, copy).
//!
//! An operation that was begun is to be driven to its end: whoever drops its future
//! in the middle does not know what the engine did. Waiting for a lock is the
//! exception, and takes a token to cancel it.
//!
//! What an acknowledged write means: its bytes are in the pool and the record
//! that names them is published, so that they outlive this process. `fsync` and
//! `flush` mean: uploaded and committed.

mod adopt;
mod compact;
mod config;
mod file;
mod gate;
mod handle;
mod internal;
mod invalidate;
mod operations;
mod ops;
mod page;
mod reader;
mod recent;
mod reply;
mod shared;
mod vfs;
mod writer;

pub use carafe_meta::{
    Call, Fallocate, FileLock, LockKind, LockRange, NewNode, OpKey, RenameFlags, SetAttr, StatFs,
    XattrMode,
};
pub use config::{Atime, Config, Squash, Xattrs};
pub use invalidate::{Invalidator, NoInvalidator};
pub use operations::Done;
pub use ops::locks::LockOwner;
pub use reply::{Attributes, Created, DirItem, Entry, OpenFlags, Opened, Whence, WriteFlags};
pub use shared::Vfs;
pub use vfs::Parts;
