//! `carafe gc`: what store and engine hold for nobody.

use std::sync::Arc;

use carafe_jobs::{Count, Gc, GcOptions, GcReport};
use carafe_types::SystemClock;
use clap::Args;

use super::{table, volume::Volume};
use crate::{compactor::Compactor, failure::Failure};

/// Find objects and deleted files that take room for nobody, and delete them if told to
#[derive(Args)]
pub(crate) struct GcArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// Delete leaked objects, and what is due of the trash, of deleted files and slices
    #[arg(long)]
    delete: bool,
    /// Put few slices in the place of many, in all chunks
    #[arg(long)]
    compact: bool,
    /// How many objects are deleted, or chunks compacted, at a time
    #[arg(long, short = 'p', default_value_t = 10)]
    threads: usize,
}

impl GcArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        let store = volume.store()?;
        if self.compact {
            let compactor = Compactor::start(&volume.meta, &store, &volume.format).await?;
            let done = compactor.everything(self.threads).await;
            compactor.finish().await;
            println!("{}", done?);
        }
        let gc = Gc::new(volume.meta, store, Arc::new(SystemClock));
        let options = GcOptions {
            delete: self.delete,
            threads: self.threads,
            ..GcOptions::default()
        };
        let report = gc.run(options).await?;
        println!("{}", text(&report, self.delete));
        if report.failed > 0 {
            let failed = report.failed;
            return Err(Failure::Damage(format!(
                "{failed} leaked objects were not deleted"
            )));
        }
        Ok(())
    }
}

fn text(report: &GcReport, deleted: bool) -> String {
    let with_bytes =
        |count: Count, what: &str| format!("{} {what} ({} bytes)", count.number, count.bytes);
    let mut lines = vec![
        format!(
            "using {} slices ({})",
            report.slices.number,
            table::size(report.slices.bytes)
        ),
        [
            format!("scanned {} objects", report.scanned.number),
            format!("{} valid", report.valid.number),
            with_bytes(report.pending, "pending delete"),
            with_bytes(report.compacted, "compacted"),
            with_bytes(report.leaked, "leaked"),
            with_bytes(report.deleted_files, "delfiles"),
            with_bytes(report.skipped, "skipped"),
        ]
        .join(", "),
    ];
    if report.strange.number > 0 {
        lines.push(with_bytes(
            report.strange,
            "objects whose names are no block's were left alone",
        ));
    }
    if deleted {
        lines.push(format!(
            "removed {} entries of the trash, {} deleted files, {} slices, {} leaked objects",
            report.trash_removed,
            report.files_removed,
            report.slices_removed,
            report.leaked_removed
        ));
    }
    lines.join("\n")
}
