//! The file system as a whole, over a real SQLite engine and a store in memory
//! that can be told to fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adopt;
mod coherence;
mod compaction;
mod engine;
mod faults;
mod fixture;
mod model;
mod names;
mod stress;
