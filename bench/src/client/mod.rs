//! The clients that are compared, side by side.

mod carafe;
mod juicefs;

use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Result, bail};
use serde::Serialize;

pub(crate) use carafe::Carafe;
pub(crate) use juicefs::Juicefs;

/// Where a volume lies: both clients are given the same kind of place.
pub(crate) struct Volume<'a> {
    /// The metadata engine.
    pub(crate) url: &'a str,
    /// The object store's directory.
    pub(crate) bucket: &'a Path,
    /// The block cache's directory.
    pub(crate) cache: &'a Path,
    /// Where it is mounted.
    pub(crate) mount_point: &'a Path,
    /// Where the client's log goes.
    pub(crate) log: &'a Path,
}

/// Who serves a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Name {
    /// Ours.
    Carafe,
    /// The peer.
    Juicefs,
    /// Nobody: the machine's own file system.
    Baseline,
}

/// A file system client as a program.
pub(crate) trait Client {
    /// Which one it is.
    fn name(&self) -> Name;
    /// The command that makes a volume.
    fn format(&self, volume: &Volume<'_>) -> Command;
    /// The command that serves it in the foreground, with its defaults.
    fn mount(&self, volume: &Volume<'_>) -> Command;
    /// The command that ends a mount.
    fn unmount(&self, volume: &Volume<'_>) -> Command;
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{command:?} failed ({}): {said}", output.status)
}

/// A client that was started.
pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Child> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log)?;
    Ok(command.stdout(log.try_clone()?).stderr(log).spawn()?)
}
