//! Caches of blocks: memory, disk, and their combination.
//!
//! A cache holds **plain** blocks under their [`BlockKey`](carafe_types::BlockKey)s. It may forget anything at
//! any time, and never answers a wrong byte: what is missing, cut short or damaged
//! is a **miss**.
//!
//! A hit is answered as a [`Cached`]: bytes in memory, or a place in a file (file,
//! offset, length, checksums), so that it can be spliced, sent or mapped without
//! passing through this process. A **unit** is the 32 KiB that one checksum covers.

mod block;
mod cache;
mod disk;
mod layered;
mod memory;

pub use block::{Cached, FileBlock, UNIT, checksums};
pub use cache::{BlockCache, CacheStats, NoCache};
pub use disk::{CacheDirectory, DiskCache, DiskCacheConfig};
pub use layered::Layered;
pub use memory::MemoryCache;
