//! What operations take and answer, in the kernel's shape but not its bytes.

use std::time::Duration;

use carafe_types::{Attr, FileType, Ino};

/// A name that was found or made.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The inode as the kernel knows it: the mount's root is 1.
    pub ino: Ino,
    /// Tells two lives of one inode number apart; numbers are never used twice here.
    pub generation: u64,
    /// The attributes; the length counts data that is not yet committed.
    pub attr: Attr,
    /// How long the attributes may be kept.
    pub attr_ttl: Duration,
    /// How long the name may be kept.
    pub entry_ttl: Duration,
}

/// An inode's attributes.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// The inode as the kernel knows it.
    pub ino: Ino,
    /// The attributes.
    pub attr: Attr,
    /// How long they may be kept.
    pub ttl: Duration,
}

/// A handle that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its number.
    pub handle: u64,
    /// The file's attributes as they were found when it was opened; none of a virtual
    /// file or a directory. Who trusted others before must not any more.
    pub attr: Option<Attr>,
    /// What the kernel has cached of the file is still true.
    pub keep_cache: bool,
    /// The kernel must not cache the file (virtual files change by themselves).
    pub direct_io: bool,
    /// The kernel may keep a directory's listing.
    pub cache_listing: bool,
}

/// A file that was made, or found, and opened.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its name.
    pub entry: Entry,
    /// Its handle.
    pub opened: Opened,
}

/// One entry of a listing.
#[derive(Clone, Debug)]
pub struct DirItem {
    /// The inode as the kernel knows it.
    pub ino: Ino,
    /// The name.
    pub name: Vec<u8>,
    /// The type.
    pub kind: FileType,
    /// The cookie to go on behind this entry; it stays valid for ever.
    pub next: u64,
    /// With `readdir` plus: what a lookup would answer. `None` for `.` and `..`,
    /// and for an inode that went meanwhile.
    pub entry: Option<Entry>,
}

/// The flags of open(2), as Linux numbers them on every 64-bit machine but for
/// those that this library does not ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    const ACCESS: u32 = 0o3;
    const WRITE_ONLY: u32 = 0o1;
    const READ_WRITE: u32 = 0o2;
    const EXCLUSIVE: u32 = 0o200;
    const TRUNCATE: u32 = 0o1000;
    const APPEND: u32 = 0o2000;

    /// For reading only.
    pub const READ: Self = Self(0);
    /// For reading and writing.
    pub const RDWR: Self = Self(Self::READ_WRITE);

    /// Whether it may read.
    pub fn readable(self) -> bool {
        self.0 & Self::ACCESS != Self::WRITE_ONLY
    }

    /// Whether it may write.
    pub fn writable(self) -> bool {
        matches!(self.0 & Self::ACCESS, Self::WRITE_ONLY | Self::READ_WRITE)
    }

    /// `O_EXCL`.
    pub fn exclusive(self) -> bool {
        self.0 & Self::EXCLUSIVE != 0
    }

    /// The same without `O_TRUNC`.
    pub(crate) fn without_truncate(self) -> Self {
        Self(self.0 & !Self::TRUNCATE)
    }

    /// `O_APPEND`.
    pub fn append(self) -> bool {
        self.0 & Self::APPEND != 0
    }

    /// `O_TRUNC`.
    pub fn truncate(self) -> bool {
        self.0 & Self::TRUNCATE != 0
    }
}

/// How a write is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteFlags {
    /// The kernel writes back its own cache: not the act of one caller. The handle
    /// may be any that is open for writing.
    pub cached: bool,
    /// Clear suid, and sgid of an executable file.
    pub kill_suid: bool,
}

/// What lseek(2) looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}
