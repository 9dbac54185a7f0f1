//! `make demo`.

use anyhow::Result;

/// To come.
pub fn run() -> Result<()> {
    anyhow::bail!("not written yet")
}
