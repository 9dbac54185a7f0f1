//! Listing a directory tree in the order of the keys, from any key on.

use std::{
    fs::{self, Metadata},
    io,
    time::UNIX_EPOCH,
};

use crate::ObjectMeta;

/// A walk that goes only where keys of `prefix` behind `after` can be.
pub(super) struct Walk {
    bucket: String,
    prefix: String,
    after: String,
    limit: usize,
    found: Vec<ObjectMeta>,
}

impl Walk {
    pub(super) fn new(bucket: &str, prefix: &str, after: &str, limit: usize) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.into(),
            after: after.into(),
            limit,
            found: Vec::new(),
        }
    }

    pub(super) fn run(&mut self) -> io::Result<Vec<ObjectMeta>> {
        let start = self
            .prefix
            .rfind('/')
            .map_or("", |slash| &self.prefix[..=slash])
            .to_owned();
        self.directory(&start)?;
        Ok(std::mem::take(&mut self.found))
    }

    /// Visits the directory whose key is `key` (empty, or with a `/` at its end).
    fn directory(&mut self, key: &str) -> io::Result<()> {
        for (name, is_dir) in self.names(key)? {
            if self.found.len() >= self.limit {
                break;
            }
            let child = format!("{key}{name}");
            if is_dir && self.may_hold(&child) {
                self.directory(&child)?;
            } else if !is_dir && child.starts_with(&self.prefix) && child > self.after {
                self.object(child)?;
            }
        }
        Ok(())
    }

    fn may_hold(&self, directory: &str) -> bool {
        let meets = directory.starts_with(&self.prefix) || self.prefix.starts_with(directory);
        meets && (directory > self.after.as_str() || self.after.starts_with(directory))
    }

    fn object(&mut self, key: String) -> io::Result<()> {
        match fs::metadata(format!("{}{key}", self.bucket)) {
            Ok(meta) => self.found.push(describe(key, &meta)),
            // It was deleted since its directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The entries of a directory, sorted as their keys are: a directory's name ends
    /// with `/`. What is being written is among them, as with the peer: what a dead
    /// client left of it is found by no other way.
    fn names(&self, key: &str) -> io::Result<Vec<(String, bool)>> {
        let path = format!("{}{key}", self.bucket);
        let path = if path.is_empty() { "." } else { &path };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let is_dir = entry.file_type()?.is_dir();
            if is_dir {
                names.push((name + "/", true));
            } else {
                names.push((name, false));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// What a listing says about a file.
pub(super) fn describe(key: String, meta: &Metadata) -> ObjectMeta {
    let since = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    ObjectMeta {
        key,
        size: meta.len(),
        modified: since.map(|since| since.as_secs() as i64),
    }
}
