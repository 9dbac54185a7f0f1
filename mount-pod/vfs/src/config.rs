//! How a mount behaves.

use std::time::Duration;

use carafe_types::Ino;

/// The options of a [`Vfs`](crate::Vfs). The defaults are JuiceFS's where it has them.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory that node 1 is: the volume's root or a claim's directory.
    pub root: Ino,
    /// The bytes of a block, from the volume's setting.
    pub block_size: u32,
    /// The volume's setting as people may see it in `.config`, without secrets.
    pub description: String,
    /// Every change is `ReadOnly`.
    pub read_only: bool,
    /// `.trash` and the virtual files cannot be looked up: for claims.
    pub hide_internal: bool,
    /// Which extended attributes there are.
    pub xattrs: Xattrs,
    /// POSIX access control lists: the volume has them, and the kernel knows.
    pub acls: bool,
    /// How long the kernel may keep attributes.
    pub attr_timeout: Duration,
    /// How long the kernel may keep a file's name.
    pub entry_timeout: Duration,
    /// How long the kernel may keep a directory's name.
    pub dir_entry_timeout: Duration,
    /// How long the kernel may keep that a name is not there.
    pub negative_timeout: Duration,
    /// How long an open trusts what the engine last said of the file.
    pub open_timeout: Duration,
    /// The kernel may keep listings while the directory's mtime is the same.
    pub cache_listings: bool,
    /// Permission bits that nothing new gets.
    pub umask: u16,
    /// Who callers are here.
    pub squash: Squash,
    /// When a read is noted as the last access.
    pub atime: Atime,
    /// How old written data may get before it is uploaded.
    pub max_dirty_age: Duration,
    /// How long a write waits for room in the buffers before it fails.
    pub write_wait: Duration,
    /// The most that is read ahead of one handle, in bytes.
    pub max_readahead: u64,
    /// Whether one slice may hold several pieces of a chunk (many small writes, one
    /// object). The engine must count a reference for each record of a slice.
    pub pack: bool,
    /// A chunk's slice list of so many records is compacted in the background; 0 for
    /// never.
    pub compact_from: usize,
}

/// Which extended attributes a mount has. All others are as if the file system had none
/// of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xattrs {
    /// Any at all.
    pub enabled: bool,
    /// `security.capability`: what a program may do beyond its user.
    pub capabilities: bool,
    /// `security.selinux`.
    pub selinux: bool,
}

impl Xattrs {
    /// All that there are.
    pub const ALL: Self = Self {
        enabled: true,
        capabilities: true,
        selinux: true,
    };
}

/// Which callers are somebody else here than to their kernel. If any are, the kernel
/// cannot check permissions, and the file system does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Squash {
    /// The user and group that root is.
    pub root: Option<(u32, u32)>,
    /// The user and group that everybody is.
    pub all: Option<(u32, u32)>,
}

impl Squash {
    /// Whether anybody is.
    pub fn is_on(self) -> bool {
        self.root.is_some() || self.all.is_some()
    }

    /// Who a caller is, if somebody else.
    pub(crate) fn of(self, uid: u32) -> Option<(u32, u32)> {
        self.all.or(self.root.filter(|_| uid == 0))
    }
}

/// When a read is noted as the last access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atime {
    /// Never.
    Never,
    /// When the file changed since the last note, or that is a day old.
    Relative,
    /// Always, but for what was noted within the last second.
    Strict,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: Ino::ROOT,
            block_size: 4 << 20,
            description: String::new(),
            read_only: false,
            hide_internal: false,
            xattrs: Xattrs::ALL,
            acls: false,
            attr_timeout: Duration::from_secs(1),
            entry_timeout: Duration::from_secs(1),
            dir_entry_timeout: Duration::from_secs(1),
            negative_timeout: Duration::ZERO,
            open_timeout: Duration::ZERO,
            cache_listings: false,
            umask: 0,
            squash: Squash::default(),
            atime: Atime::Never,
            max_dirty_age: Duration::from_secs(5),
            write_wait: Duration::from_mins(1),
            max_readahead: 32 << 20,
            pack: false,
            compact_from: 100,
        }
    }
}
