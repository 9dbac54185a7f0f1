//! Object stores: where blocks lie.
//!
//! An **object** is an immutable sequence of bytes under a key. A **back end**
//! ([`file`], [`s3`], [`memory`]) speaks to one kind of store and does nothing
//! else. A **wrapper** gives any store one more property and is itself a store:
//! [`prefix`] (the volume's name before each key), [`shards`] (several buckets),
//! [`checksum`], [`retry`], [`deadline`], [`compress`]. [`open`] stacks them as a
//! volume's setting says.
//!
//! Credentials are exchanged in a running store by [`ObjectStore::reload`].

mod error;
mod store;

pub use error::{ObjectError, OpenError, Result};
pub use store::{Credentials, Object, ObjectMeta, ObjectStore, Page, Traits};

/// The kinds of store that this build can open, as `--storage` spells them.
pub const BUILT: &[&str] = &["file", "s3", "minio"];
