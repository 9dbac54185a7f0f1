//! Object stores: where blocks lie.
//!
//! An **object** is an immutable sequence of bytes under a key. A **back end**
//! ([`File`], [`s3::S3`], [`Memory`]) speaks to one kind of store and does nothing
//! else. A **wrapper** gives any store one more property and is itself a store:
//! [`Prefixed`] (the volume's name before each key), [`Sharded`] (several buckets),
//! [`Checksummed`], [`Retrying`], [`Bounded`] (deadlines), [`Compressed`]. [`open`]
//! stacks them as a volume's setting says.
//!
//! Credentials are exchanged in a running store by [`ObjectStore::reload`].

mod check;
mod checksum;
mod compress;
mod deadline;
mod error;
mod file;
mod memory;
mod open;
mod prefix;
mod retry;
pub mod s3;
mod shards;
mod store;

pub use check::{check, is_empty, read_uuid, write_uuid};
pub use checksum::Checksummed;
pub use compress::Compressed;
pub use deadline::{Bounded, Deadlines};
pub use error::{ObjectError, OpenError, Result};
pub use file::{File, is_unfinished};
pub use memory::Memory;
pub use open::{BUILT, OpenOptions, open, open_with};
pub use prefix::Prefixed;
pub use retry::{RetryPolicy, Retrying};
pub use shards::Sharded;
pub use store::{Credentials, Object, ObjectMeta, ObjectStore, Page, Traits, slice_parts};
