//! Directories that lines run in.

mod mounted;
mod native;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

pub(crate) use mounted::Mounted;
pub(crate) use native::Native;

use crate::client::Name;
use crate::process::Usage;

/// A directory that a line runs in.
pub(crate) trait Place {
    /// Whose it is.
    fn name(&self) -> Name;
    /// The directory.
    fn dir(&self) -> &Path;
    /// Forgets all that was cached, here and in the kernel: what is read next comes from
    /// the store.
    fn cool(&mut self) -> Result<()>;
    /// The processes that serve it: their CPU time so far, and their memory.
    fn usage(&self) -> Usage;
    /// How long the last mount took until it answered.
    fn mount_time(&self) -> Option<Duration>;
}

/// Writes back and drops all cached pages and entries of this machine.
fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches needs root")
}
