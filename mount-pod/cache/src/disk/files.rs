//! The slices' files.

use std::{
    fs::File,
    io::{self, IoSlice},
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::Arc,
};

use bytes::Bytes;
use carafe_types::SliceId;
use quick_cache::sync::Cache;
use rustix::{
    fs::{AtFlags, FallocateFlags, Mode, OFlags, fallocate, fstat, openat, renameat, unlinkat},
    io::{Errno, pwritev},
};

use super::place::ensure;

/// How many files are kept open for the next read.
const OPEN: usize = 256;
/// How many slices of memory one write may name.
const PARTS_AT_ONCE: usize = 512;

/// The files below a volume's directory.
#[derive(Debug)]
pub(super) struct Files {
    root: Arc<OwnedFd>,
    block_size: u32,
    open: Cache<u64, Arc<OwnedFd>>,
}

impl Files {
    pub(super) fn new(root: Arc<OwnedFd>, block_size: u32) -> Self {
        Self {
            root,
            block_size,
            open: Cache::new(OPEN),
        }
    }

    /// Where block `index` starts in its slice's file.
    pub(super) fn offset(&self, index: u32) -> u64 {
        u64::from(index) * u64::from(self.block_size)
    }

    /// A slice's file, for reading.
    pub(super) fn reader(&self, slice: SliceId) -> io::Result<Arc<OwnedFd>> {
        if let Some(file) = self.open.get(&slice.0) {
            return Ok(file);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = Arc::new(openat(&self.root, path(slice), flags, Mode::empty())?);
        self.open.insert(slice.0, Arc::clone(&file));
        Ok(file)
    }

    /// Writes a block at its place.
    pub(super) fn write(&self, slice: SliceId, index: u32, parts: &[Bytes]) -> io::Result<()> {
        let file = self.writer(slice)?;
        let mut at = self.offset(index);
        for group in parts.chunks(PARTS_AT_ONCE) {
            at += write_group(&file, group, at)?;
        }
        Ok(())
    }

    fn writer(&self, slice: SliceId) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = || {
            openat(
                &self.root,
                path(slice),
                flags,
                Mode::from_bits_truncate(0o600),
            )
        };
        match open() {
            Err(Errno::NOENT) => {
                ensure(&self.root, "data")?;
                ensure(&self.root, &directory(slice))?;
                Ok(open()?.into())
            }
            other => Ok(other?.into()),
        }
    }

    /// Frees a block's space; the file goes with its last block.
    pub(super) fn free(&self, slice: SliceId, index: u32, size: u32) -> io::Result<()> {
        let is_only_block = index == 0 && size < self.block_size;
        if is_only_block || self.punch(slice, index)? {
            self.forget(slice);
            unlinkat(&self.root, path(slice), AtFlags::empty())?;
        }
        Ok(())
    }

    /// Makes a hole where a block was; true if nothing is left of the file. A file
    /// system that knows no holes keeps the bytes until the file goes.
    fn punch(&self, slice: SliceId, index: u32) -> io::Result<bool> {
        let file = openat(
            &self.root,
            path(slice),
            OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // The whole place: a short block is its slice's last, and its last page must go too.
        match fallocate(&file, hole, self.offset(index), u64::from(self.block_size)) {
            Ok(()) => Ok(fstat(&file)?.st_blocks == 0),
            Err(Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a slice's file anew at its next use.
    pub(super) fn forget(&self, slice: SliceId) {
        self.open.remove(&slice.0);
    }

    /// Sets all files aside, because no record tells what they are, and removes them.
    pub(super) fn discard_all(&self) {
        let renamed = renameat(&self.root, "data", &self.root, "discarded");
        if renamed.is_ok() || renamed == Err(Errno::NOTEMPTY) || renamed == Err(Errno::EXIST) {
            remove_tree(&self.root, "discarded");
        }
    }
}

/// Removes a tree as far as it can; what stays is tried again at the next start.
fn remove_tree(parent: &OwnedFd, name: &str) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(directory) = openat(parent, name, flags, Mode::empty()) else {
        return;
    };
    let Ok(entries) = rustix::fs::Dir::read_from(&directory) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(child) = entry.file_name().to_str() else {
            continue;
        };
        if child != "." && child != ".." && unlinkat(&directory, child, AtFlags::empty()).is_err() {
            remove_tree(&directory, child);
        }
    }
    // Left where something in it could not be removed.
    let _ = unlinkat(parent, name, AtFlags::REMOVEDIR);
}

fn write_group(file: &File, parts: &[Bytes], at: u64) -> io::Result<u64> {
    let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let total: usize = parts.iter().map(Bytes::len).sum();
    let mut written = pwritev(file, &slices, at)?;
    // Short writes are rare: the rest goes part by part.
    let mut start = 0;
    for part in parts {
        let end = start + part.len();
        if written < end {
            file.write_all_at(&part[written - start..], at + written as u64)?;
            written = end;
        }
        start = end;
    }
    Ok(total as u64)
}

fn directory(slice: SliceId) -> String {
    format!("data/{:02x}", slice.0 % 256)
}

fn path(slice: SliceId) -> String {
    format!("data/{:02x}/{slice}", slice.0 % 256)
}
