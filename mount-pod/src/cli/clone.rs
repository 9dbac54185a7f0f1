//! `carafe clone`: copies trees without their data.

use carafe_meta::{Call, Cloning};
use clap::Args;

use super::volume::{Volume, named};
use crate::failure::Failure;

/// Copy a file or a directory; the copy shares its data with the original
#[derive(Args)]
pub(crate) struct CloneArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// What to copy: a path in the volume, or on a mount of it
    source: String,
    /// The copy, which must not be there yet
    target: String,
    /// Keep owners, modes and times
    #[arg(long, short)]
    preserve: bool,
}

impl CloneArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        let (source, _) = volume.find(&self.source).await?;
        let (parent, name) = volume.place(&self.target).await?;
        let how = Cloning {
            preserve: self.preserve,
            umask: umask(),
        };
        let call = Call {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..volume.call.clone()
        };
        let cloned = volume.meta.clone_tree(&call, source, parent, &name, how);
        let count = cloned.await.map_err(|error| named(&self.target, error))?;
        println!("cloned {count} entries: {}", self.target);
        Ok(())
    }
}

/// This process's umask, which can be read only so.
fn umask() -> u16 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u16::from_str_radix(text.trim(), 8).ok())
        .unwrap_or(0o022)
}
