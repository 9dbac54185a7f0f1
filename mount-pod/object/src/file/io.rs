//! Reading and writing one object's file; blocks the thread.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::{buffer::spare_capacity, io::pread};

use crate::store::clip;

/// The bytes `range` of the file, cut at its end.
pub(super) fn read(path: &Path, range: Option<Range<u64>>) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let wanted = clip(range, meta.len() as usize);
    let mut bytes = Vec::with_capacity(wanted.len());
    while bytes.len() < wanted.len() {
        let at = (wanted.start + bytes.len()) as u64;
        if pread(&file, spare_capacity(&mut bytes), at)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    bytes.truncate(wanted.len());
    Ok(bytes.into())
}

/// Writes `parts` as a new file at `path`, replacing one that is there.
pub(super) fn write(path: &Path, parts: &[Bytes]) -> io::Result<()> {
    let beside = temporary_name(path);
    let written = create(&beside)
        .and_then(|mut file| write_all(&mut file, parts))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is left of it is of no use, and the first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Whether a key is that of an object that was never written to its end: whoever wrote it
/// died, if it is old. Nothing refers to it.
pub fn is_unfinished(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    name.starts_with('.') && name.contains(".tmp.")
}

/// As JuiceFS names them, so that its tools know what they are.
fn temporary_name(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().chars().take(200).collect::<String>());
    path.with_file_name(format!(
        ".{}.tmp.{}",
        name.unwrap_or_default(),
        rand::random::<u32>()
    ))
}

fn create(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().write(true).create_new(true).open(path);
    match (open(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(parent)?;
            open()
        }
        (result, _) => result,
    }
}

fn write_all(file: &mut File, parts: &[Bytes]) -> io::Result<()> {
    if let [only] = parts {
        return file.write_all_at(only, 0);
    }
    let mut slices: Vec<_> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| IoSlice::new(part))
        .collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match file.write_vectored(left)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    Ok(())
}
