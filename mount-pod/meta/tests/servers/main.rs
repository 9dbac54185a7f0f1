//! Engines with a server: when it refuses, hangs, restarts or changes its passwords;
//! encrypted, in schemas, and behind a proxy.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod etcd;
mod faults;
mod mysql;
mod postgres;
mod proxy;
mod redis;
mod refusals;
mod rotation;
mod server;
mod tls;
