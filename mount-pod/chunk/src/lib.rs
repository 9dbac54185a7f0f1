//! Slices as blocks: reading, uploading, prefetching and deleting them.
//!
//! A slice of `size` bytes is `ceil(size / block_size)` **blocks**, each one object.
//! A [`BlockStore`] finds bytes of slices in the cache or in the object store, and
//! puts new blocks into both. Where a block lies is answered by a
//! [`BlockResolver`]. A **flight** is a fetch of one block under way, which all
//! who want the block share.

mod config;
mod fetch;
mod flight;
mod piece;
mod prefetch;
mod resolver;
mod store;

pub use config::{Access, BlockStoreConfig};
pub use prefetch::Prefetch;
pub use resolver::{BlockResolver, JuiceFsLayout, Location};
pub use store::BlockStore;
