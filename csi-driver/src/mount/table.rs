//! The mount table, from `/proc/self/mountinfo`.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Where it is mounted.
    pub target: PathBuf,
    /// The file system's type, with its subtype (`fuse.carafe`).
    pub fs_type: String,
    /// What is mounted.
    pub source: String,
    /// The minor number of its device: the FUSE connection's number.
    pub minor: u32,
    /// Whether this mount is read-only.
    pub read_only: bool,
}

/// All mounts, in the kernel's order: of two at one target the later one is on top.
#[derive(Clone, Debug, Default)]
pub struct MountTable {
    entries: Vec<MountEntry>,
}

impl MountTable {
    /// The mounts of this process's namespace.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read("/proc/self/mountinfo")?))
    }

    /// Reads a mountinfo; lines that make no sense are left out.
    pub fn parse(text: &[u8]) -> Self {
        let entries = text
            .split(|byte| *byte == b'\n')
            .filter_map(parse_line)
            .collect();
        Self { entries }
    }

    /// What is visible at `target`, if it is a mount point.
    pub fn at(&self, target: &Path) -> Option<&MountEntry> {
        self.entries
            .iter()
            .rev()
            .find(|entry| entry.target == target)
    }

    /// How many mounts are stacked at `target`.
    pub fn count_at(&self, target: &Path) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.target == target)
            .count()
    }

    /// All mounts of that type.
    pub fn of_type<'a>(&'a self, fs_type: &'a str) -> impl Iterator<Item = &'a MountEntry> {
        self.entries
            .iter()
            .filter(move |entry| entry.fs_type == fs_type)
    }
}

/// `id parent major:minor root target options [tags…] - type source super-options`.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = fields.nth(2)?;
    let target = fields.nth(1)?;
    let options = std::str::from_utf8(fields.next()?).ok()?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let minor = std::str::from_utf8(device)
        .ok()?
        .split_once(':')?
        .1
        .parse()
        .ok()?;
    Some(MountEntry {
        target: PathBuf::from(OsString::from_vec(unescape(target))),
        fs_type: String::from_utf8_lossy(&unescape(rest.next()?)).into_owned(),
        source: String::from_utf8_lossy(&unescape(rest.next()?)).into_owned(),
        minor,
        read_only: options.split(',').any(|option| option == "ro"),
    })
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'\\')
            .then(|| tail.get(..3).and_then(octal))
            .flatten();
        plain.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    plain
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"22 28 0:21 / /proc rw,nosuid - proc proc rw\n\
        90 28 0:55 / /var/lib/kubelet/a\\040b rw,nosuid,nodev shared:7 - fuse.carafe carafe:demo rw,user_id=0\n\
        91 28 0:56 / /var/lib/kubelet/a\\040b ro,nosuid - fuse.carafe carafe:other rw\n\
        nonsense\n";

    #[test]
    fn the_upper_of_two_mounts_is_seen() {
        let table = MountTable::parse(TEXT);
        let entry = table.at(Path::new("/var/lib/kubelet/a b")).unwrap();
        assert_eq!(
            (entry.source.as_str(), entry.minor, entry.read_only),
            ("carafe:other", 56, true)
        );
        assert_eq!(table.count_at(Path::new("/var/lib/kubelet/a b")), 2);
        assert_eq!(table.of_type("fuse.carafe").count(), 2);
        assert!(table.at(Path::new("/var")).is_none());
    }

    #[test]
    fn this_machines_table_is_read() {
        assert!(MountTable::read().unwrap().at(Path::new("/proc")).is_some());
    }
}
