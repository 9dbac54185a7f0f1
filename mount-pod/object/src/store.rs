//! The trait that every store implements, and its words.

use std::{fmt::Debug, ops::Range};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use carafe_types::{Format, Secret};

use crate::{OpenError, Result};

/// What proves to a store who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The account.
    pub access_key: String,
    /// The account's secret.
    pub secret_key: Secret,
    /// A temporary session's token.
    pub session_token: Secret,
}

impl From<&Format> for Credentials {
    /// The credentials of a setting whose secrets are open.
    fn from(format: &Format) -> Self {
        Self {
            access_key: format.access_key.clone(),
            secret_key: format.secret_key.clone(),
            session_token: format.session_token.clone(),
        }
    }
}

/// An object's bytes, or a part of them, in as many pieces as they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// The bytes, in order.
    pub parts: Vec<Bytes>,
    /// The CRC32C of the whole object that the store keeps beside it, if it does.
    pub crc32c: Option<u32>,
}

impl Object {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes `range`, which must lie within, without copying.
    pub fn slice(&self, range: Range<usize>) -> Vec<Bytes> {
        slice_parts(&self.parts, range)
    }

    /// The CRC32C of these bytes.
    pub fn checksum(&self) -> u32 {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        self.parts.iter().for_each(|part| digest.update(part));
        digest.finalize() as u32
    }

    /// The bytes in one piece; copies only if there are several.
    pub fn into_bytes(mut self) -> Bytes {
        if self.parts.len() == 1 {
            return self.parts.swap_remove(0);
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for part in &self.parts {
            whole.extend_from_slice(part);
        }
        whole.freeze()
    }
}

/// The bytes `range` of `parts`, without copying.
pub fn slice_parts(parts: &[Bytes], range: Range<usize>) -> Vec<Bytes> {
    let mut start = 0;
    let mut taken = Vec::new();
    for part in parts {
        let end = start + part.len();
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            taken.push(part.slice(from - start..to - start));
        }
        start = end;
    }
    taken
}

impl From<Vec<Bytes>> for Object {
    fn from(parts: Vec<Bytes>) -> Self {
        Self {
            parts,
            crc32c: None,
        }
    }
}

impl From<Bytes> for Object {
    fn from(bytes: Bytes) -> Self {
        vec![bytes].into()
    }
}

/// What a listing says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: String,
    /// Its length as stored.
    pub size: u64,
    /// When it was written, in seconds since 1970, if the store says.
    pub modified: Option<i64>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Objects in the order of their keys' bytes.
    pub objects: Vec<ObjectMeta>,
    /// Where the next page starts (`after`); `None` after the last.
    pub next: Option<String>,
}

impl Page {
    /// A page of at most `limit` objects; a full one says that there may be more.
    pub fn cut(mut objects: Vec<ObjectMeta>, limit: usize) -> Self {
        objects.truncate(limit);
        let full = objects.len() == limit;
        let next = objects.last().filter(|_| full).map(|last| last.key.clone());
        Self { objects, next }
    }
}

/// The part of `len` bytes that `range` asks for: empty behind the end.
pub(crate) fn clip(range: Option<Range<u64>>, len: usize) -> Range<usize> {
    let Some(range) = range else { return 0..len };
    let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(len);
    let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
    start..end
}

/// What differs from store to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// A part of an object can be had at the price of a part.
    pub cheap_ranges: bool,
    /// A checksum can be kept beside an object.
    pub keeps_checksum: bool,
}

/// A store of immutable objects.
///
/// All operations may run at once, from any task, and may be dropped at any await:
/// an object is then either as before or as intended, never torn. Keys are relative,
/// with `/` between their parts, and have no `..`.
#[async_trait]
pub trait ObjectStore: Debug + Send + Sync {
    /// What it is, for logs and messages: no secrets.
    fn describe(&self) -> String;

    /// What this store can do.
    fn traits(&self) -> Traits;

    /// Reads an object, or the bytes `range` of it. [`crate::ObjectError::NotFound`] if it is
    /// missing. A range that starts behind the end gives nothing; one that only ends there
    /// gives less or an error, as the store likes.
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object>;

    /// Writes an object whole; one that is there already is replaced.
    async fn put(&self, key: &str, object: Object) -> Result<()>;

    /// Removes an object; a missing one is no error.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Says how large an object is; [`crate::ObjectError::NotFound`] if it is missing.
    async fn head(&self, key: &str) -> Result<ObjectMeta>;

    /// At most `limit` objects whose keys begin with `prefix` and come after
    /// `after` (not included; empty for the start).
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page>;

    /// Makes the bucket if it is not there and the store lets us.
    async fn create(&self) -> Result<()>;

    /// Uses other credentials from the next request on; what is under way ends
    /// with the old ones. Stores without credentials ignore it.
    fn reload(&self, credentials: &Credentials) -> Result<(), OpenError>;
}
