//! INIT: what kernel and session agree on, once, for the mount's whole life.

use super::{Args, Body, MAJOR, MINOR};

/// The features that this adapter asks for, each with its reason. What the kernel
/// does not offer is left out; what is not in this list is absent on purpose:
/// - `NO_OPEN_SUPPORT`: opens are counted, for deleted files that are open;
/// - `EXPORT_SUPPORT`: a tenant could leave its sub-directory by file handles;
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

/// The features of a mount with POSIX ACLs.
const WANTED_FOR_ACLS: &[u64] = &[
    flag::POSIX_ACL,    // the kernel asks for lists and goes by them
    flag::DONT_MASK,    // a default list counts instead of the umask
    flag::SETXATTR_EXT, // setting a list may have to clear sgid
];

mod flag {
    pub(super) const ASYNC_READ: u64 = 1;
    pub(super) const POSIX_LOCKS: u64 = 1 << 1;
    pub(super) const ATOMIC_O_TRUNC: u64 = 1 << 3;
    pub(super) const BIG_WRITES: u64 = 1 << 5;
    pub(super) const DONT_MASK: u64 = 1 << 6;
    pub(super) const FLOCK_LOCKS: u64 = 1 << 10;
    pub(super) const AUTO_INVAL_DATA: u64 = 1 << 12;
    pub(super) const DO_READDIRPLUS: u64 = 1 << 13;
    pub(super) const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub(super) const ASYNC_DIO: u64 = 1 << 15;
    pub(super) const WRITEBACK_CACHE: u64 = 1 << 16;
    pub(super) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(super) const POSIX_ACL: u64 = 1 << 20;
    pub(super) const MAX_PAGES: u64 = 1 << 22;
    pub(super) const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    pub(super) const SETXATTR_EXT: u64 = 1 << 29;
    pub(super) const INIT_EXT: u64 = 1 << 30;
    pub(super) const HAS_RESEND: u64 = 1 << 39;
}

const PAGE: u32 = 4096;
/// How far the kernel reads ahead of a sequential reader.
const MAX_READAHEAD: u32 = 1 << 20;

/// What is agreed, as far as requests look otherwise by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// SETXATTR has a second word of flags.
    pub(crate) long_setxattr: bool,
}

impl Agreed {
    /// Reads INIT's answer, also a predecessor's.
    pub(crate) fn read(answer: &[u8]) -> Self {
        let mut args = Args::new(answer);
        let words = [args.u32(), args.u32(), args.u32(), args.u32()];
        let flags = u64::from(words[3].unwrap_or(0));
        Self {
            long_setxattr: flags & flag::SETXATTR_EXT != 0,
        }
    }
}

/// What a mount chooses for its whole life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// The most bytes of one WRITE.
    pub(crate) max_write: u32,
    /// Background requests at once.
    pub(crate) max_background: u16,
    /// The kernel collects small writes.
    pub(crate) writeback_cache: bool,
    /// POSIX access control lists.
    pub(crate) acls: bool,
}

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
    pub(crate) fn answer(&self, choice: Choice) -> Vec<u8> {
        let Choice {
            max_write,
            max_background,
            ..
        } = choice;
        let wanted = WANTED
            .iter()
            .chain(WANTED_FOR_ACLS.iter().filter(|_| choice.acls))
            .chain(
                [&flag::WRITEBACK_CACHE]
                    .into_iter()
                    .filter(|_| choice.writeback_cache),
            );
        let flags = self.flags & wanted.fold(0, |all, flag| all | flag);
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
        let choice = Choice {
            max_write: 1 << 20,
            max_background: 64,
            writeback_cache: true,
            acls: true,
        };
        let answer = offer.answer(choice);
        assert!(!Agreed::read(&answer).long_setxattr);
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
