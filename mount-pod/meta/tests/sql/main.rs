//! Servers that speak SQL: when they refuse, hang, restart or change their passwords,
//! encrypted, in schemas, and behind a proxy.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod proxy;
mod rotation;
mod server;
mod tls;
