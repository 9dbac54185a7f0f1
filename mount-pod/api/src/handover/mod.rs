//! The conversation on the keeper's socket.
//!
//! The **keeper** (part of the node plugin) listens on one Unix socket for each
//! mount pod, in an emptyDir of that pod. The **supervisor** (PID 1 of the pod's
//! container) connects, says [`Hello`], and gets [`Attach`]: arguments, secret and
//! descriptors. Both then speak whenever they have something to say:
//!
//! | from the pod | from the keeper |
//! |---|---|
//! | `Hello`: first, once a connection | `Attach`: the answer; `Refused`: it is not served |
//! | `Region`: the memfd that the first worker made | `Secret`: it was rotated |
//! | `InitDone`: what the kernel and the worker agreed on | `Release`: flush all, say `Released` |
//! | `Ready`, `Failed`: serving, or why not | `Ping`, `Stats`: to be answered with the same number |
//! | `Released`: nothing is dirty any more | `End`: the mount is gone, flush the last and exit |
//!
//! A pod whose connection broke (the plugin restarted) connects again and says in
//! its `Hello` what it still **holds**; it sends the descriptors along, and a keeper
//! that has none takes them.
//!
//! One process at a time has a mount's descriptors and memory: a pod that connects
//! while another one's [`Process`] still lives waits for `Attach` until that has ended.
//!
//! # On the wire
//!
//! `SOCK_SEQPACKET`: one packet is one message, JSON, at most [`MAX_MESSAGE`]
//! bytes, and its descriptors travel with it as `SCM_RIGHTS`. Fields that a reader
//! does not know are ignored, and so are messages (they decode as `Unknown`); a
//! field may be added with a default, and none may change its meaning. Both sides
//! send [`PROTOCOL`]; each speaks the lower of the two.
//!
//! Descriptors stand in this order: the device, its clones, the region, the cache
//! directories. [`Descriptors`] counts them.

mod address;
mod bundle;
mod channel;
mod client;
mod link;
mod message;
mod process;
mod server;

pub use address::{connect_in, listen_in};
pub use bundle::{Bundle, Descriptors};
pub use channel::{Channel, HandoverError, MAX_DESCRIPTORS, MAX_MESSAGE};
pub use client::{Attached, Client};
pub use link::Link;
pub use message::{Attach, FromKeeper, FromPod, Hello, Usage};
pub use process::Process;
pub use server::{Listener, Peer};

/// The version of the conversation that this build speaks.
pub const PROTOCOL: u32 = 1;
/// The socket's name in the socket directory.
pub const SOCKET: &str = "keeper.sock";
/// Where a mount pod has its socket directory.
pub const SOCKET_DIR: &str = "/run/carafe";
/// The user and group that mount pods run as.
pub const MOUNT_POD_USER: u32 = 65_534;
