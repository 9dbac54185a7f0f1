//! What a cache answers.

use std::{os::fd::OwnedFd, sync::Arc};

use bytes::Bytes;

/// The bytes that a lookup asked for.
#[derive(Clone, Debug)]
pub enum Cached {
    /// In memory, checked, in order.
    Bytes(Vec<Bytes>),
    /// In a file, not yet checked.
    File(FileBlock),
}

/// Where in a cache file a piece of a block lies.
#[derive(Clone, Debug)]
pub struct FileBlock {
    /// The cache file, open for reading.
    pub file: Arc<OwnedFd>,
    /// Where the piece starts in the file.
    pub offset: u64,
    /// How long the piece is.
    pub len: u32,
}
