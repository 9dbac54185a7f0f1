//! `carafe rmr`: removes trees.

use carafe_meta::Removal;
use clap::Args;

use super::volume::{Volume, named};
use crate::failure::Failure;

/// Remove files and whole directories
#[derive(Args)]
pub(crate) struct RmrArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// What to remove: paths in the volume, or on a mount of it
    #[arg(required = true)]
    paths: Vec<String>,
    /// Not through the trash, but for good
    #[arg(long)]
    skip_trash: bool,
    /// How many entries are removed at a time
    #[arg(long, short = 'p', default_value_t = 50)]
    threads: usize,
}

impl RmrArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        let how = Removal {
            skip_trash: self.skip_trash,
            threads: self.threads,
        };
        for path in &self.paths {
            let (parent, name) = volume.place(path).await?;
            let removed = volume
                .meta
                .remove_tree(&volume.call, parent, &name, how)
                .await;
            let count = removed.map_err(|error| named(path, error))?;
            println!("removed {count} entries: {path}");
        }
        Ok(())
    }
}
