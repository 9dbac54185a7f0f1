//! `carafe summary`: what a tree holds, by its largest parts.

use carafe_jobs::{Summary, SummaryOptions, summarise};
use clap::Args;

use super::{
    table::{size, table},
    volume::{Volume, shown},
};
use crate::failure::Failure;

/// Show the largest parts of a tree
#[derive(Args)]
pub(crate) struct SummaryArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// A path in the volume, or on a mount of it
    path: String,
    /// How many levels to show; 0 is the top alone
    #[arg(long, short, default_value_t = 2)]
    depth: u32,
    /// How many parts of each directory to show
    #[arg(long, short, default_value_t = 10)]
    entries: usize,
    /// Count files where directories' statistics would answer
    #[arg(long)]
    strict: bool,
    /// Comma-separated, with sizes in bytes
    #[arg(long)]
    csv: bool,
}

impl SummaryArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        let (ino, _) = volume.find(&self.path).await?;
        let options = SummaryOptions {
            depth: self.depth.min(10),
            entries: self.entries.min(100),
            strict: self.strict,
        };
        let top = (Vec::new(), ino);
        let summary = summarise(&volume.meta, &volume.call, top, options).await?;
        let mut rows = Vec::new();
        self.rows(&summary, "", &mut rows);
        if self.csv {
            println!("PATH,SIZE,DIRS,FILES");
            for row in rows {
                println!("{}", row.join(","));
            }
        } else {
            println!("{}", table(&["PATH", "SIZE", "DIRS", "FILES"], &rows));
        }
        Ok(())
    }

    fn rows(&self, part: &Summary, above: &str, rows: &mut Vec<Vec<String>>) {
        let slash = if part.is_dir { "/" } else { "" };
        let path = format!("{above}{}{slash}", shown(&part.name));
        let usage = &part.usage;
        rows.push(vec![
            if self.csv {
                quoted(&path)
            } else {
                path.clone()
            },
            if self.csv {
                usage.space.to_string()
            } else {
                size(usage.space)
            },
            usage.dirs.to_string(),
            usage.files.to_string(),
        ]);
        // The top is `/`; what lies below it is shown relative to it.
        let above = if path == "/" { "" } else { &path };
        for below in &part.parts {
            self.rows(below, above, rows);
        }
    }
}

/// A field of a CSV line.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
