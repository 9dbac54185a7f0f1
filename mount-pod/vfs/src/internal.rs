//! The virtual files at the root: `.control`, `.accesslog`, `.stats`, `.config`,
//! with JuiceFS's numbers and modes, and the door to the trash.

use bytes::Bytes;
use carafe_meta::{Call, TOMBSTONES};
use carafe_types::{Attr, Error, FileType, Ino, Result};

use crate::{Attributes, Entry, handle::Content, shared::Core};

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
    pub(crate) fn internal_content(&self, node: Node) -> Content {
        Content::Text(match node {
            Node::Stats => self.stats().into(),
            Node::Config => self.config.description.clone().into(),
            Node::AccessLog => return Content::Log(self.operations.listen()),
            Node::Control | Node::Trash => Bytes::new(),
        })
    }

    /// The figures of this mount, a name and a value a line. Those that mean the same as
    /// the peer's have its names, so that its tools show them.
    fn stats(&self) -> String {
        let pool = self.region.pool();
        let capacity = pool.capacity() * pool.page_size();
        let used = capacity - pool.available() * pool.page_size();
        let (count, seconds) = self.operations.figures();
        let (cpu, memory) = process();
        let figures = [
            ("juicefs_uptime", self.operations.uptime().as_secs_f64()),
            ("juicefs_cpu_usage", cpu),
            ("juicefs_memory", memory),
            ("juicefs_fuse_open_handlers", self.handles.len() as f64),
            (
                "juicefs_fuse_ops_durations_histogram_seconds_total",
                count as f64,
            ),
            ("juicefs_fuse_ops_durations_histogram_seconds_sum", seconds),
            ("juicefs_used_buffer_size_bytes", used as f64),
            ("carafe_handle_count", self.handles.len() as f64),
            ("carafe_file_count", self.files.len() as f64),
            ("carafe_buffer_used_bytes", used as f64),
            ("carafe_buffer_capacity_bytes", capacity as f64),
        ];
        let lines = figures.map(|(name, value)| format!("{name} {value}\n"));
        lines.concat()
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

/// The seconds of processor time that this process took, and its resident bytes; 0
/// where the system does not say.
fn process() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in brackets, may hold blanks. Times are in ticks of 10 ms.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = fields
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or(0.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    let kibibytes: f64 = resident.and_then(|text| text.parse().ok()).unwrap_or(0.0);
    ((field(11) + field(12)) / 100.0, kibibytes * 1024.0)
}
