//! One suite for every engine: each test runs on all of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acls;
mod admin;
mod background;
mod data;
mod directories;
mod engines;
mod listing;
mod locks;
mod model;
mod names;
mod once;
mod quotas;
mod sessions;
mod volumes;
mod xattrs;
