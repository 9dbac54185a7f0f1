//! Building replies.

use std::time::Duration;

use bytes::Bytes;
use carafe_types::Attr;
use carafe_vfs::{Attributes, DirItem, Entry, Opened, StatFs};

use super::fopen;

/// stat's block, which `st_blocks` counts.
const STAT_BLOCK: u64 = 512;
/// What statfs counts in.
const STATFS_BLOCK: u32 = 4096;
/// The preferred length of one read or write that stat shows.
const IO_SIZE: u32 = 64 << 10;

/// What a reply carries behind its header.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Nothing but success.
    Empty,
    /// Bytes.
    Body(Vec<u8>),
    /// Data, in pieces that are sent as they lie.
    Data(Vec<Bytes>),
}

/// A reply's body, written from front to back.
#[derive(Debug, Default)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    pub(crate) fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    fn attr(self, ino: u64, attr: &Attr) -> Self {
        // Of directories and links, too, as the peer shows them.
        let blocks = attr.length.div_ceil(STAT_BLOCK);
        let times = [attr.atime, attr.mtime, attr.ctime];
        let body = self.u64(ino).u64(attr.length).u64(blocks);
        let body = times
            .iter()
            .fold(body, |body, time| body.u64(time.secs as u64));
        let body = times.iter().fold(body, |body, time| body.u32(time.nanos));
        body.u32(attr.full_mode())
            .u32(attr.nlink)
            .u32(attr.uid)
            .u32(attr.gid)
            .u32(attr.rdev)
            .u32(IO_SIZE)
            .u32(0)
    }

    /// A name that was found or made.
    pub(crate) fn entry(self, entry: &Entry) -> Self {
        self.u64(entry.ino.0)
            .u64(entry.generation)
            .u64(entry.entry_ttl.as_secs())
            .u64(entry.attr_ttl.as_secs())
            .u32(entry.entry_ttl.subsec_nanos())
            .u32(entry.attr_ttl.subsec_nanos())
            .attr(entry.ino.0, &entry.attr)
    }

    /// A name that is not there, and how long that may be kept.
    pub(crate) fn absent(self, ttl: Duration) -> Self {
        self.u64(0)
            .u64(0)
            .u64(ttl.as_secs())
            .u64(0)
            .u32(ttl.subsec_nanos())
            .zeros(92)
    }

    /// An inode's attributes.
    pub(crate) fn attributes(self, attributes: &Attributes) -> Self {
        self.u64(attributes.ttl.as_secs())
            .u32(attributes.ttl.subsec_nanos())
            .u32(0)
            .attr(attributes.ino.0, &attributes.attr)
    }

    /// A handle.
    pub(crate) fn opened(self, opened: &Opened) -> Self {
        let keep = if opened.keep_cache {
            fopen::KEEP_CACHE
        } else {
            0
        };
        let direct = if opened.direct_io {
            fopen::DIRECT_IO
        } else {
            0
        };
        let listing = if opened.cache_listing {
            fopen::CACHE_DIR
        } else {
            0
        };
        self.u64(opened.handle).u32(keep | direct | listing).u32(0)
    }

    /// Usage and limits.
    pub(crate) fn statfs(self, stat: &StatFs) -> Self {
        let blocks = |bytes: u64| bytes / u64::from(STATFS_BLOCK);
        self.u64(blocks(stat.total_bytes))
            .u64(blocks(stat.free_bytes))
            .u64(blocks(stat.free_bytes))
            .u64(stat.used_inodes.saturating_add(stat.free_inodes))
            .u64(stat.free_inodes)
            .u32(STATFS_BLOCK)
            .u32(255)
            .u32(STATFS_BLOCK)
            .zeros(28)
    }
}

/// An entry of a listing; `None` if it does not fit into `room`.
pub(crate) fn dirent(body: Body, item: &DirItem, room: usize) -> Result<Body, Body> {
    let len = (24 + item.name.len()).next_multiple_of(8);
    if body.0.len() + len > room {
        return Err(body);
    }
    let kind = item.kind.mode_bits() >> 12;
    let mut body = body
        .u64(item.ino.0)
        .u64(item.next)
        .u32(item.name.len() as u32)
        .u32(kind);
    body.0.extend_from_slice(&item.name);
    Ok(body.zeros(len - 24 - item.name.len()))
}

/// An entry with what a lookup would answer. Without that, a node id of 0 makes
/// the kernel ask later.
pub(crate) fn direntplus(body: Body, item: &DirItem, room: usize) -> Result<Body, Body> {
    let len = 128 + (24 + item.name.len()).next_multiple_of(8);
    if body.0.len() + len > room {
        return Err(body);
    }
    let body = match &item.entry {
        Some(entry) => body.entry(entry),
        None => body.zeros(128),
    };
    dirent(body, item, room)
}

#[cfg(test)]
mod tests {
    use carafe_types::Ino;

    use carafe_types::FileType;

    use super::*;

    fn entry() -> Entry {
        let (attr_ttl, entry_ttl) = (Duration::from_secs(1), Duration::from_millis(1500));
        Entry {
            ino: Ino(7),
            generation: 1,
            attr: Attr::default(),
            attr_ttl,
            entry_ttl,
        }
    }

    #[test]
    fn replies_have_the_kernels_lengths() {
        let attributes = Attributes {
            ino: Ino(7),
            attr: Attr::default(),
            ttl: Duration::ZERO,
        };
        let opened = Opened {
            handle: 1,
            attr: None,
            keep_cache: true,
            direct_io: false,
            cache_listing: false,
        };
        assert_eq!(
            Body::default().entry(&entry()).0.len(),
            128,
            "fuse_entry_out"
        );
        assert_eq!(
            Body::default().absent(Duration::ZERO).0.len(),
            128,
            "and without an inode"
        );
        assert_eq!(
            Body::default().attributes(&attributes).0.len(),
            104,
            "fuse_attr_out"
        );
        assert_eq!(Body::default().opened(&opened).0.len(), 16, "fuse_open_out");
        assert_eq!(
            Body::default().statfs(&StatFs::default()).0.len(),
            80,
            "fuse_statfs_out"
        );
    }

    #[test]
    fn listings_are_padded_and_stop_at_their_room() {
        let item = DirItem {
            ino: Ino(7),
            name: b"name".to_vec(),
            kind: FileType::File,
            next: 1,
            entry: Some(entry()),
        };
        assert_eq!(dirent(Body::default(), &item, 4096).unwrap().0.len(), 32);
        assert_eq!(
            direntplus(Body::default(), &item, 4096).unwrap().0.len(),
            160
        );
        assert!(
            direntplus(Body::default(), &item, 159).is_err(),
            "one byte too few"
        );
    }
}
