//! A session on a real mount, in this process: needs root and /dev/fuse.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
// Mapping a file is the only way to have the kernel write it back.
#![allow(unsafe_code)]

mod fixture;
mod locks;
mod notices;
mod operations;
mod succession;
