//! The keys: JuiceFS's own, and ours under `Z:`.

use carafe_types::{FileType, Ino, SessionId, SliceId};

use crate::ops::{Counter, DelayedKey, Entry};

/// A key or a hash's field.
pub(super) type Key = Vec<u8>;

pub(super) const SETTING: &str = "setting";
pub(super) const ALL_SESSIONS: &str = "allSessions";
pub(super) const SESSION_INFOS: &str = "sessionInfos";
pub(super) const DELETED: &str = "delfiles";
pub(super) const SLICE_REFS: &str = "sliceRef";
pub(super) const DELAYED: &str = "delSlices";
pub(super) const DIR_LENGTH: &str = "dirDataLength";
pub(super) const DIR_SPACE: &str = "dirUsedSpace";
pub(super) const DIR_INODES: &str = "dirUsedInodes";
pub(super) const QUOTA: &str = "dirQuota";
pub(super) const QUOTA_SPACE: &str = "dirQuotaUsedSpace";
pub(super) const QUOTA_INODES: &str = "dirQuotaUsedInodes";
pub(super) const USED_SPACE: &str = "usedSpace";
pub(super) const TOTAL_INODES: &str = "totalInodes";
pub(super) const ACLS: &str = "acl";
pub(super) const LAST_ACL: &str = "aclMaxId";
pub(super) const VOLUMES: &str = "Z:volumes";

pub(super) fn node(ino: Ino) -> Key {
    format!("i{ino}").into_bytes()
}

pub(super) fn dir(ino: Ino) -> Key {
    format!("d{ino}").into_bytes()
}

pub(super) fn parents(ino: Ino) -> Key {
    format!("p{ino}").into_bytes()
}

pub(super) fn symlink(ino: Ino) -> Key {
    format!("s{ino}").into_bytes()
}

pub(super) fn xattrs(ino: Ino) -> Key {
    format!("x{ino}").into_bytes()
}

pub(super) fn chunk(ino: Ino, index: u32) -> Key {
    format!("c{ino}_{index}").into_bytes()
}

/// The inverse of [`chunk`]; `None` for other keys that its pattern matches.
pub(super) fn parse_chunk(key: &[u8]) -> Option<(Ino, u32)> {
    let (ino, index) = std::str::from_utf8(key)
        .ok()?
        .strip_prefix('c')?
        .split_once('_')?;
    Some((Ino(ino.parse().ok()?), index.parse().ok()?))
}

pub(super) fn flocks(ino: Ino) -> Key {
    format!("lockf{ino}").into_bytes()
}

pub(super) fn plocks(ino: Ino) -> Key {
    format!("lockp{ino}").into_bytes()
}

pub(super) fn sustained(session: SessionId) -> Key {
    format!("session{session}").into_bytes()
}

pub(super) fn locked(session: SessionId) -> Key {
    format!("locked{session}").into_bytes()
}

/// The field of a lock's holder.
pub(super) fn owner(session: SessionId, owner: u64) -> Key {
    format!("{session}_{owner:016X}").into_bytes()
}

/// The inverse of [`owner`].
pub(super) fn parse_owner(field: &[u8]) -> Option<(SessionId, u64)> {
    let (session, owner) = std::str::from_utf8(field).ok()?.split_once('_')?;
    Some((
        SessionId(session.parse().ok()?),
        u64::from_str_radix(owner, 16).ok()?,
    ))
}

/// The field of a slice's references.
pub(super) fn slice(id: SliceId, size: u32) -> Key {
    format!("k{id}_{size}").into_bytes()
}

/// The inverse of [`slice`].
pub(super) fn parse_slice(field: &[u8]) -> Option<(SliceId, u32)> {
    let (id, size) = std::str::from_utf8(field)
        .ok()?
        .strip_prefix('k')?
        .split_once('_')?;
    Some((SliceId(id.parse().ok()?), size.parse().ok()?))
}

/// The member of a deleted file.
pub(super) fn deleted(ino: Ino, length: u64) -> Key {
    format!("{ino}:{length}").into_bytes()
}

/// The field of slices that wait.
pub(super) fn delayed(key: DelayedKey) -> Key {
    format!("{}_{}", key.id, key.time).into_bytes()
}

/// The volumes whose directory is a path.
pub(super) fn path(path: &str) -> Key {
    format!("Z:path:{path}").into_bytes()
}

/// The idempotency records of a session, by slot.
pub(super) fn operations(session: SessionId) -> Key {
    format!("Z:op:{session}").into_bytes()
}

/// A counter; the peer writes three in lower case.
pub(super) fn counter(counter: Counter) -> Key {
    let name = counter.name();
    let lower = matches!(
        counter,
        Counter::NextInode | Counter::NextChunk | Counter::NextSession
    );
    if lower {
        name.to_lowercase().into_bytes()
    } else {
        name.as_bytes().to_vec()
    }
}

/// An entry's value: type, inode.
pub(super) fn entry_value(kind: FileType, ino: Ino) -> Vec<u8> {
    let mut value = vec![kind as u8];
    value.extend(ino.0.to_be_bytes());
    value
}

/// The inverse of [`entry_value`].
pub(super) fn parse_entry(value: &[u8]) -> Option<Entry> {
    let (&kind, ino) = value.split_first()?;
    Some(Entry {
        kind: FileType::from_raw(kind)?,
        ino: Ino(u64::from_be_bytes(ino.try_into().ok()?)),
    })
}

/// A decimal number; `None` for anything else.
pub(super) fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        assert_eq!(owner(SessionId(3), u64::MAX), b"3_FFFFFFFFFFFFFFFF");
        assert_eq!(
            parse_owner(b"3_00000000000000AB"),
            Some((SessionId(3), 0xab))
        );
        assert_eq!(parse_slice(&slice(SliceId(9), 7)), Some((SliceId(9), 7)));
        let entry = Entry {
            kind: FileType::Directory,
            ino: Ino::TRASH,
        };
        assert_eq!(
            parse_entry(&entry_value(entry.kind, entry.ino)),
            Some(entry)
        );
    }

    /// The peer scans these patterns for its own keys: ours must match none.
    #[test]
    fn our_keys_match_none_of_the_peers_patterns() {
        for ours in [
            VOLUMES.as_bytes().to_vec(),
            path("c1_2"),
            operations(SessionId(1)),
        ] {
            assert!(!b"cidspxlan".contains(&ours[0]), "{ours:?}");
        }
    }
}
