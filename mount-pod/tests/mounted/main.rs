//! The client on real mounts: what users' programs do, on each pair of engine and
//! store that this build has. Needs root, /dev/fuse, and the components that
//! `make tools` installs; one that is missing fails the test.

// Whole-program tests: what fails to unwrap is the test's failure.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod acls;
mod administration;
mod durability;
mod faults;
mod fixture;
mod interop;
mod large;
mod load;
mod options;
mod peer;
mod posix;
mod refusals;
mod rotation;
mod sharing;
mod squash;
mod stress;
mod trees;
mod trips;
mod worker;
mod workloads;
