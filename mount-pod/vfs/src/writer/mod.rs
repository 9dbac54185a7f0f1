//! From an acknowledged write to a committed slice.
//!
//! 1. [`put`]: the bytes go into a log of their chunk, in the pool;
//! 2. [`upload`]: full blocks upload while the log grows; age, fsync or want of room
//!    seals it, and the rest uploads;
//! 3. [`commit`]: the logs at the fronts of their queues whose blocks are in the store
//!    are committed, those of all files in one transaction;
//! 4. [`flush`] waits for that; [`barrier`] keeps it away for a while.
//!
//! A step that fails is repeated for as long as the mount lives: what was
//! acknowledged is given up only if the engine refuses it for good (quota, no such
//! inode), and then somebody is told.

pub(crate) mod barrier;
pub(crate) mod commit;
pub(crate) mod commits;
pub(crate) mod flush;
pub(crate) mod put;
pub(crate) mod upload;
