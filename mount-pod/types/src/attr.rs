//! Inode attributes, and their bytes in the format.

use bytes::{Buf, BufMut};

use crate::Ino;

/// The bits of [`Attr::flags`].
pub mod flags {
    /// The file cannot be changed.
    pub const IMMUTABLE: u8 = 1;
    /// The file can only grow.
    pub const APPEND: u8 = 2;
    /// The entry does not go through the trash when it is deleted (`SkipTrash`).
    pub const SKIP_TRASH: u8 = 4;
}

/// What an inode is. The discriminants are the format's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileType {
    /// A regular file.
    #[default]
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A named pipe.
    Fifo = 4,
    /// A block device.
    BlockDevice = 5,
    /// A character device.
    CharDevice = 6,
    /// A Unix socket.
    Socket = 7,
}

impl FileType {
    /// Reads the format's byte; `None` for one that no version writes.
    pub fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::Symlink,
            4 => Self::Fifo,
            5 => Self::BlockDevice,
            6 => Self::CharDevice,
            7 => Self::Socket,
            _ => return None,
        })
    }

    /// The `S_IFMT` bits of a mode.
    pub fn mode_bits(self) -> u32 {
        match self {
            Self::File => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Symlink => 0o120_000,
            Self::Fifo => 0o010_000,
            Self::BlockDevice => 0o060_000,
            Self::CharDevice => 0o020_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The type that a mode's `S_IFMT` bits name; no bits mean a regular file.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0 | 0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o010_000 => Self::Fifo,
            0o060_000 => Self::BlockDevice,
            0o020_000 => Self::CharDevice,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }
}

/// A point in time: seconds since 1970, UTC, and nanoseconds below a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Timestamp {
    /// A time from microseconds since 1970 and a remainder of 0 to 999 ns.
    pub fn from_micros(micros: i64, rest_nanos: u32) -> Self {
        Self {
            secs: micros.div_euclid(1_000_000),
            nanos: micros.rem_euclid(1_000_000) as u32 * 1_000 + rest_nanos,
        }
    }

    /// The inverse of [`Timestamp::from_micros`].
    pub fn to_micros(self) -> (i64, u32) {
        (
            self.secs * 1_000_000 + i64::from(self.nanos / 1_000),
            self.nanos % 1_000,
        )
    }
}

/// An inode's attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// See [`flags`].
    pub flags: u8,
    /// What it is.
    pub kind: FileType,
    /// Permission bits with suid, sgid and sticky: 12 bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of attributes or content.
    pub ctime: Timestamp,
    /// Hard links; a directory counts `.` and its sub-directories' `..`.
    pub nlink: u32,
    /// The file's length in bytes; a directory's is 4096.
    pub length: u64,
    /// The device's number.
    pub rdev: u32,
    /// The directory that holds it; 0 means several do (hard links).
    pub parent: Ino,
    /// The access ACL's id; 0 means none.
    pub access_acl: u32,
    /// A directory's default ACL's id; 0 means none.
    pub default_acl: u32,
    /// The storage tier (format 1.4); 0 means the volume's own.
    pub tier: u8,
}

const FIXED_LEN: usize = 71;

impl Attr {
    /// The full mode with type bits, as stat(2) shows it.
    pub fn full_mode(&self) -> u32 {
        self.kind.mode_bits() | u32::from(self.mode)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// The bytes as the format stores them in Redis and in KV engines: 71
    /// fixed ones, the optional parts, and a spare zero byte last.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + 10);
        out.put_u8(self.flags);
        out.put_u16((self.kind as u16) << 12 | (self.mode & 0o7777));
        out.put_u32(self.uid);
        out.put_u32(self.gid);
        for time in [self.atime, self.mtime, self.ctime] {
            out.put_i64(time.secs);
            out.put_u32(time.nanos);
        }
        out.put_u32(self.nlink);
        out.put_u64(self.length);
        out.put_u32(self.rdev);
        out.put_u64(self.parent.0);
        if self.access_acl != 0 || self.default_acl != 0 || self.tier != 0 {
            out.put_u32(self.access_acl);
            out.put_u32(self.default_acl);
        }
        if self.tier != 0 {
            out.put_u8(self.tier);
        }
        out.put_u8(0);
        out
    }

    /// Reads what [`Attr::encode`] or JuiceFS wrote; `None` if it is too short
    /// or names a type that does not exist.
    pub fn decode(mut from: &[u8]) -> Option<Self> {
        if from.len() < FIXED_LEN {
            return None;
        }
        let flags = from.get_u8();
        let kind_and_mode = from.get_u16();
        let mut attr = Self {
            flags,
            kind: FileType::from_raw((kind_and_mode >> 12) as u8)?,
            mode: kind_and_mode & 0o7777,
            uid: from.get_u32(),
            gid: from.get_u32(),
            atime: get_time(&mut from),
            mtime: get_time(&mut from),
            ctime: get_time(&mut from),
            nlink: from.get_u32(),
            length: from.get_u64(),
            rdev: from.get_u32(),
            parent: Ino(from.get_u64()),
            ..Self::default()
        };
        if from.len() >= 8 {
            attr.access_acl = from.get_u32();
            attr.default_acl = from.get_u32();
            // The spare byte stands last, so a tier is there only if two are left.
            if from.len() >= 2 {
                attr.tier = from.get_u8();
            }
        }
        Some(attr)
    }
}

fn get_time(from: &mut &[u8]) -> Timestamp {
    Timestamp {
        secs: from.get_i64(),
        nanos: from.get_u32(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_optional_parts_it_is_72_bytes() {
        let attr = Attr {
            mode: 0o644,
            nlink: 1,
            parent: Ino::ROOT,
            ..Attr::default()
        };
        let bytes = attr.encode();
        assert_eq!(bytes.len(), 72);
        assert_eq!(
            bytes[1..3],
            [0x11, 0xa4],
            "type in the top four bits, mode below"
        );
        assert_eq!(bytes[71], 0, "the spare byte is last");
    }

    #[test]
    fn acl_ids_stand_at_offset_71() {
        let bytes = Attr {
            access_acl: 7,
            default_acl: 9,
            ..Attr::default()
        }
        .encode();
        assert_eq!(bytes[71..], [0, 0, 0, 7, 0, 0, 0, 9, 0]);
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(
            flags: u8, kind in 1u8..=7, mode in 0u16..0o10000, uid: u32, gid: u32, secs: i32, nanos in 0u32..1_000_000_000,
            nlink: u32, length: u64, rdev: u32, parent: u64, access_acl: u32, default_acl: u32, tier: u8,
        ) {
            let time = Timestamp { secs: i64::from(secs), nanos };
            let attr = Attr {
                flags, kind: FileType::from_raw(kind).unwrap(), mode, uid, gid, atime: time, mtime: time, ctime: time,
                nlink, length, rdev, parent: Ino(parent), access_acl, default_acl, tier,
            };
            prop_assert_eq!(Attr::decode(&attr.encode()), Some(attr));
        }

        #[test]
        fn micros_keep_every_nanosecond(secs in -1_000_000_000i64..10_000_000_000, nanos in 0u32..1_000_000_000) {
            let time = Timestamp { secs, nanos };
            let (micros, rest) = time.to_micros();
            prop_assert_eq!(Timestamp::from_micros(micros, rest), time);
        }
    }
}
