//! The virtual files at the root: `.control`, `.accesslog`, `.stats`, `.config`,
//! with JuiceFS's numbers and modes, and the door to the trash.

use bytes::Bytes;
use carafe_meta::{Call, TOMBSTONES};
use carafe_types::{Attr, Error, FileType, Ino, Result};

use crate::{Attributes, Entry, vfs::Core};

/// A virtual file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Control,
    AccessLog,
    Stats,
    Config,
    Trash,
}

const FIRST: u64 = 0x7FFF_FFFF_0000_0001;
const ALL: [(Node, &[u8], u16); 5] = [
    (Node::Control, b".control", 0o666),
    (Node::AccessLog, b".accesslog", 0o400),
    (Node::Stats, b".stats", 0o444),
    (Node::Config, b".config", 0o400),
    (Node::Trash, b".trash", 0o555),
];

/// Whether a name at the volume's root is taken by a virtual file, the trash or the
/// tombstones.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    name == TOMBSTONES || ALL.iter().any(|(_, reserved, _)| *reserved == name)
}

/// Whether an entry is never shown: the trees of deleted volumes, while background
/// work removes them.
pub(crate) fn is_hidden(parent: Ino, name: &[u8]) -> bool {
    parent == Ino::ROOT && name == TOMBSTONES
}

impl Node {
    fn ino(self) -> Ino {
        if self == Self::Trash {
            Ino::TRASH
        } else {
            Ino(FIRST + self as u64)
        }
    }

    fn mode(self) -> u16 {
        ALL[self as usize].2
    }
}

impl Core {
    /// The virtual file that a name of the mount's root means, where they are shown.
    pub(crate) fn internal_name(&self, parent: Ino, name: &[u8]) -> Option<Node> {
        if parent != Ino::ROOT || self.config.hide_internal || name.first() != Some(&b'.') {
            return None;
        }
        ALL.iter()
            .find(|(_, known, _)| *known == name)
            .map(|(node, ..)| *node)
    }

    /// The virtual file with this number; the trash is not one.
    #[expect(clippy::unused_self, reason = "asked beside its siblings")]
    pub(crate) fn internal_node(&self, ino: Ino) -> Option<Node> {
        let index = ino.0.checked_sub(FIRST)? as usize;
        ALL[..4].get(index).map(|(node, ..)| *node)
    }

    /// An inode that is no virtual file.
    pub(crate) fn ordinary(&self, ino: Ino) -> Result<Ino> {
        if self.internal_node(ino).is_some() {
            Err(Error::NotPermitted)
        } else {
            self.inner(ino)
        }
    }

    /// What a virtual file reads as now.
    pub(crate) fn internal_content(&self, node: Node) -> Bytes {
        match node {
            Node::Stats => self.stats().into(),
            Node::Config => self.config.description.clone().into(),
            Node::Control | Node::AccessLog | Node::Trash => Bytes::new(),
        }
    }

    /// The figures of this mount, a name and a value a line.
    fn stats(&self) -> String {
        let pool = self.region.pool();
        let used = (pool.capacity() - pool.available()) * pool.page_size();
        format!(
            "carafe_handle_count {}\ncarafe_file_count {}\ncarafe_buffer_used_bytes {used}\ncarafe_buffer_capacity_bytes {}\n",
            self.handles.len(),
            self.files.len(),
            pool.capacity() * pool.page_size(),
        )
    }

    pub(crate) async fn internal_entry(&self, call: &Call, node: Node) -> Result<Entry> {
        let Attributes { attr, .. } = self.internal_attributes(call, node).await?;
        Ok(self.entry(node.ino(), attr))
    }

    pub(crate) async fn internal_attributes(&self, call: &Call, node: Node) -> Result<Attributes> {
        let attr = if node == Node::Trash {
            self.meta.getattr(call, Ino::TRASH).await?
        } else {
            let now = self.clock.now();
            Attr {
                kind: FileType::File,
                mode: node.mode(),
                nlink: 1,
                atime: now,
                mtime: now,
                ctime: now,
                parent: Ino::ROOT,
                ..Attr::default()
            }
        };
        Ok(self.attributes(node.ino(), attr))
    }
}
