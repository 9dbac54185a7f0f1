//! INIT: what kernel and session agree on, once, for the mount's whole life.

use super::{Args, Body, MAJOR, MINOR};

/// The features that this adapter asks for, each with its reason. What the kernel
/// does not offer is left out; what is not in this list is absent on purpose:
/// - `NO_OPEN_SUPPORT`: opens are counted, for deleted files that are open;
/// - `EXPORT_SUPPORT`: a tenant could leave its sub-directory by file handles;
/// - `POSIX_ACL`: would need ACLs in every engine, and cannot be added later;
/// - `EXPLICIT_INVAL_DATA`: a file that grows elsewhere would show zeros at its old end;
/// - `CACHE_SYMLINKS`, `NO_OPENDIR_SUPPORT`: listings and links change elsewhere.
const WANTED: &[u64] = &[
    flag::ASYNC_READ,         // reads of one file at the same time
    flag::POSIX_LOCKS,        // locks hold between nodes
    flag::FLOCK_LOCKS,        // and are told apart from POSIX ones
    flag::ATOMIC_O_TRUNC,     // one operation instead of open and truncate
    flag::BIG_WRITES,         // more than a page in a request
    flag::AUTO_INVAL_DATA,    // a changed mtime or length drops cached pages
    flag::DO_READDIRPLUS,     // attributes come with a listing
    flag::READDIRPLUS_AUTO,   // when somebody wants them
    flag::ASYNC_DIO,          // direct reads and writes in parallel
    flag::PARALLEL_DIROPS,    // lookups and listings of one directory in parallel
    flag::MAX_PAGES,          // requests of 1 MiB
    flag::HANDLE_KILLPRIV_V2, // suid goes with the write itself, without a getxattr for each
    flag::INIT_EXT,           // the second word of flags counts
    flag::HAS_RESEND,         // a successor can ask for requests again
];

mod flag {
    pub(super) const ASYNC_READ: u64 = 1;
    pub(super) const POSIX_LOCKS: u64 = 1 << 1;
    pub(super) const ATOMIC_O_TRUNC: u64 = 1 << 3;
    pub(super) const BIG_WRITES: u64 = 1 << 5;
    pub(super) const FLOCK_LOCKS: u64 = 1 << 10;
    pub(super) const AUTO_INVAL_DATA: u64 = 1 << 12;
    pub(super) const DO_READDIRPLUS: u64 = 1 << 13;
    pub(super) const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub(super) const ASYNC_DIO: u64 = 1 << 15;
    pub(super) const WRITEBACK_CACHE: u64 = 1 << 16;
    pub(super) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(super) const MAX_PAGES: u64 = 1 << 22;
    pub(super) const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    pub(super) const INIT_EXT: u64 = 1 << 30;
    pub(super) const HAS_RESEND: u64 = 1 << 39;
}

const PAGE: u32 = 4096;
/// How far the kernel reads ahead of a sequential reader.
const MAX_READAHEAD: u32 = 1 << 20;

/// What the kernel offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    major: u32,
    minor: u32,
    readahead: u32,
    flags: u64,
}

impl Offer {
    /// Reads INIT's arguments.
    pub(crate) fn read(mut args: Args<'_>) -> Option<Self> {
        let (major, minor, readahead, low) = (args.u32()?, args.u32()?, args.u32()?, args.u32()?);
        let high = args.u32().unwrap_or(0);
        Some(Self {
            major,
            minor,
            readahead,
            flags: u64::from(low) | u64::from(high) << 32,
        })
    }

    /// Whether a session can be had at all: 7.31 (Linux 5.4) is the oldest.
    pub(crate) fn is_usable(&self) -> bool {
        self.major == MAJOR && self.minor >= 31
    }

    /// The answer: both the reply's body and what a successor needs to know.
    pub(crate) fn answer(
        &self,
        max_write: u32,
        max_background: u16,
        writeback_cache: bool,
    ) -> Vec<u8> {
        let cache = if writeback_cache {
            flag::WRITEBACK_CACHE
        } else {
            0
        };
        let flags = self.flags & (WANTED.iter().fold(0, |all, flag| all | flag) | cache);
        Body::default()
            .u32(MAJOR)
            .u32(MINOR.min(self.minor))
            .u32(self.readahead.min(MAX_READAHEAD))
            .u32(flags as u32)
            .u16(max_background)
            // From here on the kernel slows down those who write: the usual three quarters.
            .u16(max_background - max_background / 4)
            .u32(max_write)
            .u32(1) // times have nanoseconds
            .u16((max_write / PAGE) as u16)
            .u16(0)
            .u32((flags >> 32) as u32)
            .zeros(28)
            .0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_offered_is_taken() {
        let mut args = Vec::new();
        for word in [
            7u32,
            45,
            131_072,
            (flag::ASYNC_READ | flag::MAX_PAGES | 1 << 4) as u32,
            0,
        ] {
            args.extend_from_slice(&word.to_ne_bytes());
        }
        let offer = Offer::read(Args::new(&args)).unwrap();
        let answer = offer.answer(1 << 20, 64, true);
        assert_eq!(answer.len(), 64, "fuse_init_out");
        let mut read = Args::new(&answer);
        let words = [read.u32(), read.u32(), read.u32(), read.u32()];
        let flags = (flag::ASYNC_READ | flag::MAX_PAGES) as u32;
        assert_eq!(words, [Some(7), Some(45), Some(131_072), Some(flags)]);
    }

    #[test]
    fn an_old_kernel_is_refused() {
        let old = Offer {
            major: 7,
            minor: 26,
            readahead: 0,
            flags: 0,
        };
        assert!(!old.is_usable());
    }
}
