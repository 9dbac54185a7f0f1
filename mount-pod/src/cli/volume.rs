//! A volume that a command works on, and the paths in it.
//!
//! A path is one in the volume (`/dir/file`), or one on a mount of this volume on this
//! machine, which then stands for the same file. Symbolic links are not followed.

use std::{
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use carafe_meta::{Admin, Call};
use carafe_object::ObjectStore;
use carafe_types::{Attr, Error, Format, Ino};

use crate::{engine, failure::Failure};

/// An engine with its volume's setting.
pub(super) struct Volume {
    pub(super) meta: Arc<dyn Admin>,
    pub(super) format: Format,
    pub(super) call: Call,
}

impl Volume {
    pub(super) async fn open(url: &str) -> Result<Self, Failure> {
        if !url.contains("://") {
            return Err(Failure::Usage(format!(
                "{url:?} is no META-URL: it comes first, e.g. sqlite3:///path.db"
            )));
        }
        let (meta, format) = engine::connect_admin(url).await?;
        Ok(Self {
            meta,
            format,
            call: Call::internal(),
        })
    }

    /// The store of its objects.
    pub(super) fn store(&self) -> Result<Arc<dyn ObjectStore>, Failure> {
        carafe_object::open(&self.format).map_err(|error| Failure::Store(error.to_string()))
    }

    /// What a path leads to.
    pub(super) async fn find(&self, path: &str) -> Result<(Ino, Attr), Failure> {
        let inside = self.inside(path)?;
        let found = self.meta.resolve(&self.call, Ino::ROOT, &inside).await;
        found.map_err(|error| named(path, error))
    }

    /// The directory and the name that a path ends in, whether it is there or not.
    pub(super) async fn place(&self, path: &str) -> Result<(Ino, Vec<u8>), Failure> {
        let inside = self.inside(path)?;
        let trimmed = inside.strip_suffix(b"/").unwrap_or(&inside);
        let at = trimmed.iter().rposition(|&byte| byte == b'/');
        let (dir, name) = match at {
            Some(at) => (&trimmed[..at], &trimmed[at + 1..]),
            None => (&[][..], trimmed),
        };
        if name.is_empty() {
            return Err(Failure::Usage(format!("{path} is the volume's root")));
        }
        let found = self.meta.resolve(&self.call, Ino::ROOT, dir).await;
        let (parent, attr) = found.map_err(|error| named(path, error))?;
        if attr.is_dir() {
            Ok((parent, name.to_vec()))
        } else {
            Err(named(path, Error::NotDirectory))
        }
    }

    /// The path in the volume that a path means.
    pub(super) fn inside(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let given = Path::new(path);
        let absolute = std::path::absolute(given).map_err(Failure::system(path))?;
        match self.mount_of(&absolute)? {
            Some(inside) => Ok(inside.into_os_string().into_vec()),
            None if given.is_absolute() => Ok(path.as_bytes().to_vec()),
            None => Err(Failure::Usage(format!(
                "{path} is neither on a mount of {} nor a path in it, which begins with /",
                self.format.name
            ))),
        }
    }

    /// The path in the volume, if `path` lies on a mount of this volume.
    fn mount_of(&self, path: &Path) -> Result<Option<PathBuf>, Failure> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let sources = [
            format!("carafe:{}", self.format.name),
            format!("JuiceFS:{}", self.format.name),
        ];
        let above = mounts
            .lines()
            .filter_map(|line| mount_point(line, &sources))
            .filter(|point| path.starts_with(point))
            .max_by_key(|point| point.as_os_str().len());
        let Some(point) = above else {
            return Ok(None);
        };
        let hidden = || {
            Failure::Usage(format!(
                "{} does not show what it mounts: give the path in the volume",
                point.display()
            ))
        };
        let config = std::fs::read(point.join(".config")).map_err(|_| hidden())?;
        let config: serde_json::Value = serde_json::from_slice(&config).map_err(|_| hidden())?;
        if config["Format"]["UUID"] != self.format.uuid {
            return Ok(None);
        }
        let subdir = [&config["Subdir"], &config["Meta"]["Subdir"]];
        let subdir = subdir.iter().find_map(|text| text.as_str());
        let below = path.strip_prefix(&point).unwrap_or(path);
        let subdir = subdir.unwrap_or_default().trim_start_matches('/');
        Ok(Some(Path::new("/").join(subdir).join(below)))
    }
}

/// The mount point of a line of mountinfo, if it is a mount of one of `sources`.
fn mount_point(line: &str, sources: &[String]) -> Option<PathBuf> {
    let (mount, device) = line.split_once(" - ")?;
    let source = device.split(' ').nth(1)?;
    let point = mount.split(' ').nth(4)?;
    sources
        .iter()
        .any(|known| known == source)
        .then(|| PathBuf::from(unescape(point)))
}

/// mountinfo writes blanks and the like as `\040`.
fn unescape(text: &str) -> std::ffi::OsString {
    let mut out = Vec::new();
    let mut bytes = text.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        let digits = rest.get(..3).filter(|_| first == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(first));
        bytes = if code.is_some() { &rest[3..] } else { rest };
    }
    std::ffi::OsString::from_vec(out)
}

/// An error with the path that it is about.
pub(super) fn named(path: &str, error: Error) -> Failure {
    match error {
        Error::Io(_) | Error::TimedOut(_) | Error::Stale(_) => error.into(),
        error => Failure::Usage(format!("{path}: {error}")),
    }
}

/// A path for people.
pub(super) fn shown(path: &[u8]) -> String {
    std::ffi::OsStr::from_bytes(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_its_source() {
        let line = r"71 29 0:61 / /mnt/my\040demo rw,nosuid - fuse.carafe carafe:demo rw";
        let point = |name: &str| mount_point(line, &[format!("carafe:{name}")]);
        assert_eq!(point("demo"), Some("/mnt/my demo".into()));
        assert_eq!(point("other"), None);
    }
}
