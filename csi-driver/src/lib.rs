//! Carafe's CSI plugin.
//!
//! Two roles of one program: the **controller** ([`controller`]) makes, grows and
//! deletes volumes in the metadata engine itself; the **node** plugin ([`node`]) mounts
//! them. For each volume that a node uses there is one **mount pod**, unprivileged,
//! that serves it; the node plugin opens /dev/fuse, mounts, and hands the descriptor
//! over. What makes a mount outlive its pod is the **keeper** ([`keeper`]).
//!
//! Kubernetes is behind three small ports: [`node::Pods`], [`node::Claims`] and
//! [`controller::ClaimTags`].

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )
)]

mod api_server;
pub mod attributes;
pub mod capability;
pub mod config;
pub mod controller;
pub mod health;
pub mod identity;
pub mod keeper;
pub mod lock;
pub mod mount;
pub mod node;
pub mod proto;
pub mod registration;
mod run;
pub mod server;

pub use run::run;
