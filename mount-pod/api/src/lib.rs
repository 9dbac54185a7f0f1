//! What the node plugin, the operator and the mount pod say to each other.
//!
//! - The **volume secret** is the Kubernetes Secret of a file system, with the
//!   fields that JuiceFS users already have ([`VolumeSecret`]).
//! - **Mount options** are spelled as `juicefs mount` spells them and parsed once,
//!   by the plugin, into [`MountOptions`].
//! - **Mount arguments** are all that a client needs to serve one volume, except
//!   for what is secret ([`MountArguments`]).
//! - The **handover** is the conversation on the keeper's socket ([`handover`]):
//!   it gives a mount pod its descriptors, its arguments and its secret.
//! - **Labels** make mount pods readable and findable ([`labels`]).

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )
)]

pub mod handover;
pub mod labels;
mod mount;
mod options;
mod secret;
mod size;

pub use mount::MountArguments;
pub use options::{AtimeMode, CacheEviction, CacheOptions, Identity, MountOptions, OptionError};
pub use secret::{SecretError, VolumeSecret};
pub use size::{SizeError, parse_size};
