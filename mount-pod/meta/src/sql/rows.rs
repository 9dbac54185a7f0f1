//! Rows to values.

use carafe_types::{Attr, Error, FileType, Ino, Result, Timestamp};

use super::statement::{Cell, Row};

/// A number; nothing counts as 0.
pub(super) fn int(row: &Row, at: usize) -> Result<i64> {
    match row.get(at) {
        Some(Cell::Int(value)) => Ok(*value),
        Some(Cell::Null) => Ok(0),
        _ => Err(Error::Io(format!(
            "the database's column {at} is not a number"
        ))),
    }
}

/// An unsigned number, stored as a signed one.
pub(super) fn unsigned(row: &Row, at: usize) -> Result<u64> {
    int(row, at).map(|value| value as u64)
}

/// The bytes of a text or blob; nothing counts as none.
pub(super) fn bytes(row: &Row, at: usize) -> Result<&[u8]> {
    match row.get(at) {
        Some(Cell::Bytes(bytes)) => Ok(bytes),
        Some(Cell::Null) => Ok(&[]),
        _ => Err(Error::Io(format!(
            "the database's column {at} holds no bytes"
        ))),
    }
}

/// A text.
pub(super) fn text(row: &Row, at: usize) -> Result<String> {
    let damaged = |_| Error::Io(format!("the database's column {at} is not UTF-8"));
    String::from_utf8(bytes(row, at)?.to_vec()).map_err(damaged)
}

/// An entry's type.
pub(super) fn kind(row: &Row, at: usize) -> Result<FileType> {
    let raw = int(row, at)?;
    FileType::from_raw(raw as u8).ok_or_else(|| Error::Io(format!("{raw} is no file type")))
}

/// An inode's attributes, in the order of [`NODE_COLUMNS`](super::item::NODE_COLUMNS).
pub(super) fn attr(row: &Row) -> Result<Attr> {
    let time = |micros: usize, rest: usize| -> Result<Timestamp> {
        Ok(Timestamp::from_micros(
            int(row, micros)?,
            int(row, rest)? as u32,
        ))
    };
    Ok(Attr {
        kind: kind(row, 0)?,
        flags: int(row, 1)? as u8,
        mode: int(row, 2)? as u16,
        uid: int(row, 3)? as u32,
        gid: int(row, 4)? as u32,
        atime: time(5, 8)?,
        mtime: time(6, 9)?,
        ctime: time(7, 10)?,
        nlink: int(row, 11)? as u32,
        length: unsigned(row, 12)?,
        rdev: int(row, 13)? as u32,
        parent: Ino(unsigned(row, 14)?),
        access_acl: int(row, 15)? as u32,
        default_acl: int(row, 16)? as u32,
        tier: 0,
    })
}
