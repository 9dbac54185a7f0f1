//! Ours.

use std::path::PathBuf;
use std::process::Command;

use super::{Client, Name, Volume};

/// The program to measure.
pub(crate) struct Carafe(pub(crate) PathBuf);

impl Client for Carafe {
    fn name(&self) -> Name {
        Name::Carafe
    }

    fn format(&self, volume: &Volume<'_>) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["format", volume.url, "bench", "--bucket"]);
        command.arg(volume.bucket);
        command
    }

    fn mount(&self, volume: &Volume<'_>) -> Command {
        let mut command = Command::new(&self.0);
        command.arg("mount").arg("--cache-dir").arg(volume.cache);
        command.arg(volume.url).arg(volume.mount_point);
        command
    }

    fn unmount(&self, volume: &Volume<'_>) -> Command {
        let mut command = Command::new(&self.0);
        command.arg("umount").arg(volume.mount_point);
        command
    }
}
