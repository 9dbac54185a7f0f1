//! The peer.

use std::path::PathBuf;
use std::process::Command;

use super::{Client, Name, Volume};

/// The program to compare with.
pub(crate) struct Juicefs(pub(crate) PathBuf);

impl Client for Juicefs {
    fn name(&self) -> Name {
        Name::Juicefs
    }

    fn format(&self, volume: &Volume<'_>) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["format", "--storage", "file", "--bucket"]);
        command.arg(volume.bucket).args([volume.url, "bench"]);
        command
    }

    fn mount(&self, volume: &Volume<'_>) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["mount", "--no-usage-report", "--cache-dir"]);
        command
            .arg(volume.cache)
            .arg(volume.url)
            .arg(volume.mount_point);
        command
    }

    fn unmount(&self, volume: &Volume<'_>) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["umount", "--flush"]).arg(volume.mount_point);
        command
    }
}
