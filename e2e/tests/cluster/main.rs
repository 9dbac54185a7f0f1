//! Tests on a real Kubernetes: the cluster in `KUBECONFIG`, or one that this
//! process starts for itself and that goes when it ends.
//!
//! A cluster of your own needs two nodes, the images of `carafe-e2e load`, and
//! the Secret `backends` in the namespace `carafe-e2e` (see `backends.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod classes;
mod cluster;
mod existing;
mod fixture;
mod ground;
mod isolation;
mod lifecycle;
mod mount_pods;
mod peer;
mod quota;
mod refusals;
mod restarts;
mod rotation;
mod sanity;
mod storage;
mod volumes;
