//! The memory of a mount that outlives the process that serves it.
//!
//! A **region** is a sealed memfd that three processes hold (the keeper, the
//! supervisor and the **worker**, which is the only one that writes). When a
//! worker dies, its **successor** attaches to the same region and finds there
//! every request that was read and not answered, and every byte that a `write`
//! acknowledged and that is not yet committed.
//!
//! Vocabulary:
//!
//! - a **cell** is a small piece of the region with two halves, written in turn,
//!   each with a sequence number and a checksum ([`cell`]). A kill in the middle of
//!   an update leaves the previous value readable;
//! - a **record** is what a cell holds: 48 bytes of one [`record`] type;
//! - a **table** is an array of cells of one record type with a free list
//!   ([`table`]);
//! - a **slot** is where a request lies from the moment it is read from the kernel
//!   until its reply is written ([`slots`]). Big slots take what `read` delivers,
//!   small ones keep what turned out to be small;
//! - the **journal** has one record for each slot: the operation that was begun and
//!   the ids it was given;
//! - the **pool** is an array of **pages** that hold written data ([`pool`]); an
//!   **extent** says which bytes of which file lie where in a page.
//!
//! # Layout, version 1
//!
//! All integers are little endian. Sections start at multiples of 4 KiB, in this
//! order; their offsets follow from the [`Config`], which the header repeats.
//!
//! | section | content |
//! |---|---|
//! | header | 0: magic `CARAFE\0\1`; 8: version; 12: CRC-32C of 16..64; 16: the eight `u32` of the configuration; 48: total length; 64..: live words (session id, heartbeat, high-water marks); 1024: the INIT cell; 4096: the id cells |
//! | slot words | 64 bytes a slot: state, clone, sequence number |
//! | journal | one 128-byte cell a slot |
//! | handles, locks, extents | 128-byte cells |
//! | big slots | `4096 + max_write` each; a request starts 80 bytes before the second page, so that the data of a WRITE is page aligned |
//! | small slots | `small_slot_len` each |
//! | pool | pages of `page_size` |
//!
//! Memory is given to the region as it is touched, and taken back by
//! [`Region::trim`]; what has never been used costs nothing.
//!
//! # Who may write
//!
//! One process at a time. A successor attaches only after its predecessor has
//! frozen or is seen dead through its pidfd; this crate cannot check that.
// Shared memory is raw memory: this crate is one of the two of the workspace that
// may say `unsafe`, and every block gives its reason.
#![allow(unsafe_code)]

pub mod cell;
mod free;
mod header;
mod ids;
mod layout;
mod mapping;
mod page;
mod pages;
pub mod pool;
pub mod record;
mod region;
pub mod slots;
pub mod table;

pub use header::{Header, peek};
pub use ids::{IdKind, Ids};
pub use layout::{Config, MAGIC, REQUEST_HEAD, VERSION};
pub use page::{Extent, Frozen, Page};
pub use pool::{Pool, PoolFull, RecoveredPage};
pub use record::{ExtentRecord, HandleRecord, JournalRecord, LockRecord};
pub use region::{Recovery, Region};
pub use slots::{ReadSlot, Request, SlotState, Slots};
pub use table::{Entry, Table, TableFull};

/// What can be wrong with a region.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The kernel refused memory, a mapping or a seal.
    #[error("{step}: {source}")]
    Os {
        /// What was attempted.
        step: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The descriptor is not a region of ours, or of a version that we cannot read.
    #[error("not a usable state region: {0}")]
    Unusable(String),
    /// The configuration has a size that the layout cannot hold.
    #[error("bad region configuration: {0}")]
    Config(&'static str),
    /// A value is larger than the place that it goes to.
    #[error("{what} of {len} bytes does not fit in {room}")]
    TooLong {
        /// The value.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The room there is.
        room: usize,
    },
}

impl StateError {
    pub(crate) fn os(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Os {
            step,
            source: errno.into(),
        }
    }
}
