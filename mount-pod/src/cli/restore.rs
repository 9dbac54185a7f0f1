//! `carafe restore`: puts trees together again from the trash.

use clap::Args;

use super::volume::{Volume, shown};
use crate::failure::Failure;

/// Rebuild trees in the trash, or put them back where they were
#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// Hours of the trash, UTC, as its directories are named: 2006-01-02-15
    #[arg(required = true)]
    hours: Vec<String>,
    /// Move everything into the directories that it was in
    #[arg(long)]
    put_back: bool,
    /// How many entries are moved at a time
    #[arg(long, default_value_t = 10)]
    threads: usize,
}

impl RestoreArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        let restored = carafe_jobs::restore(&volume.meta, &self.hours, self.put_back, self.threads);
        let report = restored.await.map_err(|error| match error {
            carafe_types::Error::NotFound => {
                Failure::Usage("the trash has no such hour: see .trash at the root".into())
            }
            error => error.into(),
        })?;
        println!(
            "restored {} of {} entries; {} names are taken, {} directories are gone or in another hour's trash",
            report.restored, report.found, report.taken, report.homeless
        );
        for (name, error) in &report.failed {
            println!("{}: {error}", shown(name));
        }
        if report.failed.is_empty() {
            return Ok(());
        }
        let failed = report.failed.len();
        Err(Failure::Damage(format!(
            "{failed} entries were not restored"
        )))
    }
}
