//! The records: what cells hold, 48 bytes each, integers little endian.
//!
//! A record type has a **kind** number that is stored beside it, so that a reader of
//! another version skips what it does not know instead of misreading it.

/// The length of every record.
pub const RECORD_LEN: usize = 48;

/// A value that fits in a cell.
pub trait Record: Sized + Clone + Send + Sync {
    /// The number that says which type this is; never 0, which means retired.
    const KIND: u32;
    /// The record as bytes.
    fn encode(&self) -> [u8; RECORD_LEN];
    /// The record from bytes that passed their checksum.
    fn decode(bytes: &[u8; RECORD_LEN]) -> Self;
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident = $kind:literal {
        $($(#[$field_doc:meta])* $field:ident: $type:ident,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Record for $name {
            const KIND: u32 = $kind;

            fn encode(&self) -> [u8; RECORD_LEN] {
                let mut bytes = [0; RECORD_LEN];
                let mut at = 0;
                $(
                    let end = at + size_of::<$type>();
                    bytes[at..end].copy_from_slice(&self.$field.to_le_bytes());
                    at = end;
                )*
                debug_assert!(at <= RECORD_LEN);
                bytes
            }

            fn decode(bytes: &[u8; RECORD_LEN]) -> Self {
                let mut at = 0;
                $(
                    let mut raw = [0; size_of::<$type>()];
                    raw.copy_from_slice(&bytes[at..at + size_of::<$type>()]);
                    let $field = $type::from_le_bytes(raw);
                    at += raw.len();
                )*
                debug_assert!(at <= RECORD_LEN);
                Self { $($field,)* }
            }
        }
    };
}

record! {
    /// An operation that was begun for the request in a slot. It is found by the
    /// slot's number; (session, slot, sequence) names it in the database.
    JournalRecord = 1 {
        /// Which operation; the file system's numbering (FUSE opcodes).
        operation: u32,
        /// How far it came; the operation's own numbering.
        step: u32,
        /// The slot's sequence number.
        sequence: u64,
        /// The first id that it was given (an inode, a handle …), 0 for none.
        id0: u64,
        /// The second id.
        id1: u64,
        /// The third id.
        id2: u64,
        /// The fourth id.
        id3: u64,
    }
}

record! {
    /// An open file or directory.
    HandleRecord = 2 {
        /// The number that the kernel uses.
        handle: u64,
        /// The inode.
        inode: u64,
        /// The owner of POSIX locks taken through it, 0 for none.
        lock_owner: u64,
        /// The owner of a flock taken through it, 0 for none.
        flock_owner: u64,
        /// The flags of `open`.
        flags: u32,
        /// Cached, direct or passthrough, in the adapter's numbering.
        io_mode: u32,
        /// The backing id of a passthrough handle, 0 for none.
        backing: u32,
        /// 1 for a directory.
        directory: u32,
    }
}

record! {
    /// A lock that this client holds.
    LockRecord = 3 {
        /// The inode.
        inode: u64,
        /// The owner in the kernel's numbering.
        owner: u64,
        /// The first byte.
        start: u64,
        /// The last byte.
        end: u64,
        /// Shared or exclusive, as in `fcntl`.
        lock_type: u32,
        /// The process.
        pid: u32,
        /// 1 for a flock.
        flock: u32,
        /// Not used.
        reserved: u32,
    }
}

record! {
    /// Where acknowledged bytes of a file lie.
    ExtentRecord = 4 {
        /// The inode.
        inode: u64,
        /// The slice that they will be committed as, 0 while it has none.
        slice: u64,
        /// Which of two overlapping extents is newer: the one with the higher number.
        order: u64,
        /// The chunk's index in the file.
        chunk: u32,
        /// The first byte's position in the chunk.
        position: u32,
        /// The number of bytes.
        len: u32,
        /// The page of the pool, or [`NO_PAGE`]: uploaded, not committed.
        page: u32,
        /// The first byte's offset in the page.
        page_offset: u32,
        /// The first byte's offset in the slice.
        slice_offset: u32,
    }
}

record! {
    /// A range of ids that this session has taken and not yet used.
    IdRecord = 5 {
        /// The next id to give out.
        next: u64,
        /// The first id that is not ours.
        end: u64,
    }
}

/// The page of an extent whose bytes are in the object store already.
pub const NO_PAGE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extents_survive_encoding(words in any::<[u64; 3]>(), halves in any::<[u32; 6]>()) {
            let [inode, slice, order] = words;
            let [chunk, position, len, page, page_offset, slice_offset] = halves;
            let record = ExtentRecord {
                inode, slice, order, chunk, position, len, page, page_offset, slice_offset,
            };
            prop_assert_eq!(ExtentRecord::decode(&record.encode()), record);
        }

        #[test]
        fn handles_survive_encoding(words in any::<[u64; 4]>(), flags in any::<[u32; 4]>()) {
            let [handle, inode, lock_owner, flock_owner] = words;
            let [flags, io_mode, backing, directory] = flags;
            let record = HandleRecord {
                handle, inode, lock_owner, flock_owner, flags, io_mode, backing, directory,
            };
            prop_assert_eq!(HandleRecord::decode(&record.encode()), record);
        }
    }
}
