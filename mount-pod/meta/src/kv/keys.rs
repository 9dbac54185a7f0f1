//! The keys behind a volume's prefix: JuiceFS's own, and ours under `Z`.
//!
//! Inodes in keys are little-endian, all other numbers big-endian, as a volume that
//! `juicefs` 1.3.1 wrote shows.

use std::ops::Range;

use carafe_types::{FileType, Ino, SessionId, SliceId};

use super::store::Key;
use crate::{
    OpKey,
    ops::{Counter, DelayedKey, Entry},
};

/// The setting's JSON.
pub(super) const SETTING: &[u8] = b"setting";

/// Where the parts of an inode lie: `A`, the inode, a letter, and what the part adds.
fn part(ino: Ino, letter: u8, rest: &[u8]) -> Key {
    [&b"A"[..], &ino.0.to_le_bytes(), &[letter], rest].concat()
}

pub(super) fn node(ino: Ino) -> Key {
    part(ino, b'I', b"")
}

pub(super) fn entry(parent: Ino, name: &[u8]) -> Key {
    part(parent, b'D', name)
}

pub(super) fn parent(ino: Ino, parent: Ino) -> Key {
    part(ino, b'P', &parent.0.to_le_bytes())
}

pub(super) fn chunk(ino: Ino, index: u32) -> Key {
    part(ino, b'C', &index.to_be_bytes())
}

pub(super) fn symlink(ino: Ino) -> Key {
    part(ino, b'S', b"")
}

pub(super) fn xattr(ino: Ino, name: &[u8]) -> Key {
    part(ino, b'X', name)
}

pub(super) fn dir_stat(dir: Ino) -> Key {
    [&b"U"[..], &dir.0.to_le_bytes()].concat()
}

pub(super) fn quota(dir: Ino) -> Key {
    [&b"QD"[..], &dir.0.to_le_bytes()].concat()
}

pub(super) fn flocks(ino: Ino) -> Key {
    [&b"F"[..], &ino.0.to_le_bytes()].concat()
}

pub(super) fn plocks(ino: Ino) -> Key {
    [&b"P"[..], &ino.0.to_le_bytes()].concat()
}

pub(super) fn slice(id: SliceId, size: u32) -> Key {
    [&b"K"[..], &id.0.to_be_bytes(), &size.to_be_bytes()].concat()
}

pub(super) fn deleted(ino: Ino, length: u64) -> Key {
    [&b"D"[..], &ino.0.to_le_bytes(), &length.to_be_bytes()].concat()
}

pub(super) fn delayed(key: DelayedKey) -> Key {
    [&b"L"[..], &key.time.to_be_bytes(), &key.id.to_be_bytes()].concat()
}

pub(super) fn session_expiry(session: SessionId) -> Key {
    [&b"SE"[..], &session.0.to_be_bytes()].concat()
}

pub(super) fn session_info(session: SessionId) -> Key {
    [&b"SI"[..], &session.0.to_be_bytes()].concat()
}

pub(super) fn sustained(session: SessionId, ino: Ino) -> Key {
    [&sustained_of(session)[..], &ino.0.to_le_bytes()].concat()
}

/// What a session's sustained inodes begin with.
pub(super) fn sustained_of(session: SessionId) -> Key {
    [&b"SS"[..], &session.0.to_be_bytes()].concat()
}

pub(super) fn counter(counter: Counter) -> Key {
    [b"C", counter.name().as_bytes()].concat()
}

/// The last number of an access control list.
pub(super) const LAST_ACL: &[u8] = b"CaclMaxId";

/// What the access control lists begin with.
pub(super) const ACLS: &[u8] = b"R";

/// An access control list.
pub(super) fn acl(number: u32) -> Key {
    [ACLS, &number.to_be_bytes()].concat()
}

/// The inverse of [`acl`].
pub(super) fn parse_acl(key: &[u8]) -> Option<u32> {
    index(key.strip_prefix(ACLS)?)
}

/// Whether a counter is big-endian: the leases are, which are set and never added to.
pub(super) fn is_lease(counter: Counter) -> bool {
    match counter {
        Counter::LastCleanupSessions | Counter::LastCleanupFiles | Counter::LastCleanupTrash => {
            true
        }
        Counter::NextInode
        | Counter::NextChunk
        | Counter::NextSession
        | Counter::NextTrash
        | Counter::UsedSpace
        | Counter::TotalInodes => false,
    }
}

/// An operation's record.
pub(super) fn operation(key: OpKey) -> Key {
    [&operations(key.session)[..], &key.slot.to_be_bytes()].concat()
}

/// What a session's records begin with.
pub(super) fn operations(session: SessionId) -> Key {
    [&b"ZO"[..], &session.0.to_be_bytes()].concat()
}

pub(super) fn volume(id: &str) -> Key {
    [b"ZV", id.as_bytes()].concat()
}

/// What says that a volume's directory is `path`.
pub(super) fn volume_at(path: &str, id: &str) -> Key {
    [&volumes_at(path)[..], id.as_bytes()].concat()
}

/// What the volumes at a path begin with; a path holds no zero byte.
pub(super) fn volumes_at(path: &str) -> Key {
    [b"ZP", path.as_bytes(), b"\0"].concat()
}

/// All keys that begin with `prefix`, whose last byte is not the highest.
pub(super) fn under(prefix: impl Into<Key>) -> Range<Key> {
    let start = prefix.into();
    let mut end = start.clone();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    start..end
}

pub(super) fn entries(dir: Ino) -> Range<Key> {
    under(part(dir, b'D', b""))
}

pub(super) fn parents(ino: Ino) -> Range<Key> {
    under(part(ino, b'P', b""))
}

pub(super) fn xattrs(ino: Ino) -> Range<Key> {
    under(part(ino, b'X', b""))
}

pub(super) fn chunks(ino: Ino) -> Range<Key> {
    under(part(ino, b'C', b""))
}

/// What follows the letter of an inode's part.
pub(super) fn part_name(key: &[u8]) -> &[u8] {
    key.get(10..).unwrap_or_default()
}

/// The big-endian number at the front of `bytes`, and the rest.
pub(super) fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// The little-endian inode that `bytes` begins with.
pub(super) fn take_ino(bytes: &[u8]) -> Option<Ino> {
    Some(Ino(u64::from_le_bytes(*bytes.first_chunk()?)))
}

/// The big-endian index that `bytes` is.
pub(super) fn index(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// The inverse of [`slice`].
pub(super) fn parse_slice(key: &[u8]) -> Option<(SliceId, u32)> {
    let (id, size) = take_u64(key.strip_prefix(b"K")?)?;
    Some((SliceId(id), index(size)?))
}

/// The inverse of [`chunk`]; none for the other parts of an inode.
pub(super) fn parse_chunk(key: &[u8]) -> Option<(Ino, u32)> {
    let rest = key.strip_prefix(b"A")?;
    let index_of = rest.get(8..)?.strip_prefix(b"C")?;
    Some((take_ino(rest)?, index(index_of)?))
}

/// The inverse of [`deleted`].
pub(super) fn parse_deleted(key: &[u8]) -> Option<(Ino, u64)> {
    let rest = key.strip_prefix(b"D")?;
    let (length, _) = take_u64(rest.get(8..)?)?;
    Some((take_ino(rest)?, length))
}

/// The inverse of [`delayed`].
pub(super) fn parse_delayed(key: &[u8]) -> Option<DelayedKey> {
    let (time, rest) = take_u64(key.strip_prefix(b"L")?)?;
    let time = time as i64;
    let (id, _) = take_u64(rest)?;
    Some(DelayedKey { id, time })
}

/// An entry's value: type, inode.
pub(super) fn entry_value(kind: FileType, ino: Ino) -> Vec<u8> {
    [&[kind as u8][..], &ino.0.to_be_bytes()].concat()
}

/// The inverse of [`entry_value`].
pub(super) fn parse_entry(value: &[u8]) -> Option<Entry> {
    let (&kind, ino) = value.split_first()?;
    Some(Entry {
        kind: FileType::from_raw(kind)?,
        ino: Ino(u64::from_be_bytes(ino.try_into().ok()?)),
    })
}

/// Big-endian numbers, as statistics, quotas and expiries hold them; `None` if the
/// bytes are fewer.
pub(super) fn numbers<const N: usize>(bytes: &[u8]) -> Option<[i64; N]> {
    let (numbers, _) = bytes.as_chunks::<8>();
    let numbers: &[[u8; 8]; N] = numbers.first_chunk()?;
    Some(numbers.map(i64::from_be_bytes))
}

/// The inverse of [`numbers`].
pub(super) fn numbers_value(numbers: &[i64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

/// A number that is added to: little-endian.
pub(super) fn sum(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and values of a volume that `juicefs` 1.3.1 wrote to etcd.
    #[test]
    fn keys_are_those_of_a_volume_of_the_peer() {
        let session = SessionId(2);
        assert_eq!(node(Ino::TRASH), b"A\x00\x00\x00\x10\xff\xff\xff\x7fI");
        assert_eq!(entry(Ino(2), b"app"), b"A\x02\0\0\0\0\0\0\0Dapp");
        assert_eq!(
            parent(Ino(4), Ino(3)),
            b"A\x04\0\0\0\0\0\0\0P\x03\0\0\0\0\0\0\0"
        );
        assert_eq!(chunk(Ino(4), 1), b"A\x04\0\0\0\0\0\0\0C\0\0\0\x01");
        assert_eq!(slice(SliceId(3), 2), b"K\0\0\0\0\0\0\0\x03\0\0\0\x02");
        assert_eq!(
            deleted(Ino(0x403), 0x0c80_0002),
            b"D\x03\x04\0\0\0\0\0\0\0\0\0\0\x0c\x80\0\x02"
        );
        let waiting = DelayedKey {
            id: 0x2020,
            time: 0x6b0a_9526,
        };
        assert_eq!(
            delayed(waiting),
            b"L\0\0\0\0\x6b\x0a\x95\x26\0\0\0\0\0\0\x20\x20"
        );
        assert_eq!(
            sustained(session, Ino(0x402)),
            b"SS\0\0\0\0\0\0\0\x02\x02\x04\0\0\0\0\0\0"
        );
        assert_eq!(session_expiry(session), b"SE\0\0\0\0\0\0\0\x02");
        assert_eq!(quota(Ino(2)), b"QD\x02\0\0\0\0\0\0\0");
        assert_eq!(counter(Counter::NextInode), b"CnextInode");
        assert_eq!(acl(1), b"R\0\0\0\x01");
        assert_eq!(sum(&[2, 4, 0, 0, 0, 0, 0, 0]), Some(0x402));
    }

    #[test]
    fn keys_read_back() {
        assert_eq!(parse_slice(&slice(SliceId(9), 7)), Some((SliceId(9), 7)));
        assert_eq!(parse_deleted(&deleted(Ino(5), 6)), Some((Ino(5), 6)));
        let waiting = DelayedKey { id: 8, time: 9 };
        assert_eq!(parse_delayed(&delayed(waiting)), Some(waiting));
        assert_eq!(parse_acl(&acl(7)), Some(7));
        assert_eq!(under([1, 255]), vec![1, 255]..vec![2]);
        assert_eq!(numbers(&numbers_value(&[1, -2])), Some([1, -2]));
    }

    /// The peer scans by these first letters: ours begin with none.
    #[test]
    fn our_keys_lie_under_none_of_the_peers_prefixes() {
        let key = OpKey {
            session: SessionId(1),
            slot: 2,
            sequence: 3,
        };
        for ours in [volume("a"), volume_at("p", "a"), operation(key)] {
            assert!(!b"ACDFKLNPQRSUs".contains(&ours[0]), "{ours:?}");
        }
    }
}
