//! A real Kubernetes on this machine, and what tests do with it.
//!
//! Vocabulary:
//! - a **run** is one cluster, named by a short id; every name, address and
//!   directory of the cluster derives from the id, so that runs never meet;
//! - a **sandbox** is a set of namespaces whose first process adopts all others:
//!   ending that one process ends everything that was started inside;
//! - a **node** is a sandbox with its own network, in which containerd, kubelet
//!   and kube-proxy run;
//! - the **back ends** are the servers that volumes live on (Redis, PostgreSQL,
//!   S3); they run beside the cluster and pods reach them.

pub mod addons;
pub mod backends;
pub mod certs;
pub mod cgroup;
pub mod chart;
pub mod cluster;
pub mod control_plane;
pub mod demo;
pub mod image;
pub mod kubeconfig;
pub mod network;
pub mod node;
pub mod probe;
pub mod run;
pub mod sandbox;
pub mod shell;
pub mod sweep;
pub mod tools;
