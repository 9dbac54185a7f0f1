//! The client on real mounts: what users' programs do, on each pair of engine and
//! store that this build has. Needs root, /dev/fuse, and the components that
//! `make tools` installs; one that is missing fails the test.

mod durability;
mod fixture;
mod options;
mod peer;
mod refusals;
mod trees;
mod workloads;
