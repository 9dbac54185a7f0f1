//! `carafe compact`: few slices in the place of many.

use clap::Args;

use super::volume::Volume;
use crate::{compactor::Compactor, failure::Failure};

/// Compact the files at and below paths
#[derive(Args)]
pub(crate) struct CompactArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// Paths in the volume, or on a mount of it
    #[arg(required = true)]
    paths: Vec<String>,
    /// How many chunks are compacted at a time
    #[arg(long, short = 'p', default_value_t = 10)]
    threads: usize,
}

impl CompactArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        let mut tops = Vec::new();
        for path in &self.paths {
            tops.push(volume.find(path).await?.0);
        }
        let compactor = Compactor::start(&volume.meta, &volume.store()?, &volume.format).await?;
        let done = compactor.trees(tops, self.threads).await;
        compactor.finish().await;
        println!("{}", done?);
        Ok(())
    }
}
