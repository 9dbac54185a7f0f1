//! The kernel adapter: it answers /dev/fuse with a [`Vfs`](carafe_vfs::Vfs).
//!
//! A **request** is what the kernel asks; it is read straight into a slot of the
//! region, and lies there until its reply is written. A **session** is the loop
//! that reads requests with several threads; **INIT** is the first request, in
//! which kernel and session agree on what the mount can do for its whole life.
//! A **notification** is what the session tells the kernel unasked.
//!
//! The node id is the inode's number, so there is no table of nodes and FORGET
//! changes nothing. Format and numbers follow the kernel's
//! `include/uapi/linux/fuse.h`, version 7.45.

mod abi;
mod adapter;
mod errno;
#[cfg(test)]
mod fuzz;
pub mod mount;
mod notify;
mod session;
mod told;

pub use notify::Notifier;
pub use session::{Session, SessionConfig, SessionError};
