//! The machine's own file system, which is the baseline.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::{Place, drop_caches};
use crate::client::Name;
use crate::process::Usage;

/// A directory of its own on the machine's file system.
pub(crate) struct Native(TempDir);

impl Native {
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        Ok(Self(TempDir::new_in(scratch)?))
    }
}

impl Place for Native {
    fn name(&self) -> Name {
        Name::Baseline
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn cool(&mut self) -> Result<()> {
        drop_caches()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn mount_time(&self) -> Option<Duration> {
        None
    }
}
