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
    /// How long the kernel may keep attributes.
    pub attr_timeout: Duration,
    /// How long the kernel may keep a file's name.
    pub entry_timeout: Duration,
    /// How long the kernel may keep a directory's name.
    pub dir_entry_timeout: Duration,
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

impl Default for Config {
    fn default() -> Self {
        Self {
            root: Ino::ROOT,
            block_size: 4 << 20,
            description: String::new(),
            read_only: false,
            hide_internal: false,
            attr_timeout: Duration::from_secs(1),
            entry_timeout: Duration::from_secs(1),
            dir_entry_timeout: Duration::from_secs(1),
            max_dirty_age: Duration::from_secs(5),
            write_wait: Duration::from_mins(1),
            max_readahead: 32 << 20,
            pack: false,
            compact_from: 100,
        }
    }
}
