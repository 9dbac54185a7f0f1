//! Rows to values.

use carafe_types::{Attr, Error, FileType, Ino, SliceId, Timestamp};
use rusqlite::{Row, types::ValueRef};

/// An inode's attributes from columns `at` on, in the order of
/// [`SELECT_NODE`](super::schema::SELECT_NODE).
pub(super) fn attr(row: &Row<'_>, at: usize) -> rusqlite::Result<Attr> {
    let int = |index: usize| -> rusqlite::Result<i64> {
        Ok(row.get::<_, Option<i64>>(at + index)?.unwrap_or(0))
    };
    let time = |micros: usize, rest: usize| -> rusqlite::Result<Timestamp> {
        Ok(Timestamp::from_micros(int(micros)?, int(rest)? as u32))
    };
    let raw = int(0)?;
    let kind =
        FileType::from_raw(raw as u8).ok_or(rusqlite::Error::IntegralValueOutOfRange(at, raw))?;
    Ok(Attr {
        kind,
        flags: int(1)? as u8,
        mode: int(2)? as u16,
        uid: int(3)? as u32,
        gid: int(4)? as u32,
        atime: time(5, 8)?,
        mtime: time(6, 9)?,
        ctime: time(7, 10)?,
        nlink: int(11)? as u32,
        length: int(12)? as u64,
        rdev: int(13)? as u32,
        parent: Ino(int(14)? as u64),
        access_acl: int(15)? as u32,
        default_acl: int(16)? as u32,
        tier: 0,
    })
}

/// An entry's type, which no version writes otherwise.
pub(super) fn kind(row: &Row<'_>, at: usize) -> rusqlite::Result<FileType> {
    let raw: i64 = row.get(at)?;
    FileType::from_raw(raw as u8).ok_or(rusqlite::Error::IntegralValueOutOfRange(at, raw))
}

/// An unsigned number, stored as a signed one.
pub(super) fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(|value| value as u64)
}

/// The bytes of a text or blob; the peer's driver writes some columns as either.
pub(super) fn bytes(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    })
}

/// The peer's list of (id, size) of 12 bytes each.
pub(crate) fn delayed_slices(list: &[u8]) -> Vec<(SliceId, u32)> {
    let (records, _) = list.as_chunks::<12>();
    let parse = |record: &[u8; 12]| {
        let (id, size) = record.split_at(8);
        let id = id
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte));
        let size = size
            .iter()
            .fold(0, |value, &byte| value << 8 | u32::from(byte));
        (SliceId(id), size)
    };
    records.iter().map(parse).collect()
}

/// The inverse of [`delayed_slices`].
pub(crate) fn delayed_list(slices: &[(SliceId, u32)]) -> Vec<u8> {
    let record = |(id, size): &(SliceId, u32)| -> [u8; 12] {
        let mut record = [0; 12];
        record[..8].copy_from_slice(&id.0.to_be_bytes());
        record[8..].copy_from_slice(&size.to_be_bytes());
        record
    };
    slices.iter().flat_map(record).collect()
}

/// The engine's error as ours; SQLite's texts hold no secrets.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn failed(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::NoSpace,
        Some(ErrorCode::ReadOnly) => Error::ReadOnly,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::TimedOut("another process holds the sqlite database's lock".into())
        }
        _ => Error::Io(format!("sqlite: {error}")),
    }
}
