//! The values that hold an inode's locks: records of all holders, one after another.
//!
//! A BSD lock is session, owner and a letter, 17 bytes; an owner's POSIX locks are
//! session, owner, and the length of the records that follow. Numbers are big-endian.

use carafe_types::SessionId;

use super::keys::take_u64;
use crate::ops::{FlockRow, PlockRow};

/// Reads BSD locks; `None` if the value is damaged.
pub(super) fn parse_flocks(mut value: &[u8]) -> Option<Vec<FlockRow>> {
    let mut rows = Vec::new();
    while !value.is_empty() {
        let (session, rest) = take_u64(value)?;
        let (owner, rest) = take_u64(rest)?;
        let (letter, rest) = rest.split_first()?;
        rows.push(FlockRow {
            session: SessionId(session),
            owner,
            write: *letter == b'W',
        });
        value = rest;
    }
    Some(rows)
}

/// The inverse of [`parse_flocks`].
pub(super) fn flocks_value(rows: &[FlockRow]) -> Vec<u8> {
    let record = |row: &FlockRow| {
        let letter = if row.write { b'W' } else { b'R' };
        [&holder(row.session, row.owner)[..], &[letter]].concat()
    };
    rows.iter().flat_map(record).collect()
}

/// Reads POSIX locks; `None` if the value is damaged.
pub(super) fn parse_plocks(mut value: &[u8]) -> Option<Vec<PlockRow>> {
    let mut rows = Vec::new();
    while !value.is_empty() {
        let (session, rest) = take_u64(value)?;
        let (owner, rest) = take_u64(rest)?;
        let (len, rest) = rest.split_first_chunk()?;
        let (records, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        rows.push(PlockRow {
            session: SessionId(session),
            owner,
            records: records.to_vec(),
        });
        value = rest;
    }
    Some(rows)
}

/// The inverse of [`parse_plocks`].
pub(super) fn plocks_value(rows: &[PlockRow]) -> Vec<u8> {
    let record = |row: &PlockRow| {
        let len = (row.records.len() as u32).to_be_bytes();
        [&holder(row.session, row.owner)[..], &len, &row.records].concat()
    };
    rows.iter().flat_map(record).collect()
}

fn holder(session: SessionId, owner: u64) -> [u8; 16] {
    (u128::from(session.0) << 64 | u128::from(owner)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that `juicefs` 1.3.1 wrote to etcd.
    #[test]
    fn values_are_those_of_the_peer() {
        let flock = [
            0, 0, 0, 0, 0, 0, 0, 1, 0xa5, 0x7d, 0x3f, 0x75, 0x9e, 0x75, 0x7d, 0x23, b'W',
        ];
        let rows = parse_flocks(&flock).unwrap_or_default();
        let expected = FlockRow {
            session: SessionId(1),
            owner: 0xa57d_3f75_9e75_7d23,
            write: true,
        };
        assert_eq!(rows, [expected]);
        assert_eq!(flocks_value(&rows), flock);

        let record = [
            0, 0, 0, 1, 0, 0, 0x33, 0x88, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 14,
        ];
        let plock = [&holder(SessionId(1), 7)[..], &[0, 0, 0, 24], &record].concat();
        let rows = parse_plocks(&plock).unwrap_or_default();
        assert_eq!((rows.len(), &rows[0].records[..]), (1, &record[..]));
        assert_eq!(plocks_value(&rows), plock);
        assert_eq!(parse_plocks(&plock[..30]), None, "cut off");
    }
}
