//! `carafe fsck`: whether anything is lost or does not agree.

use carafe_jobs::{DataCheck, DataReport, DirCheck, DirOptions, Finding, Wrong};
use carafe_meta::Defect;
use clap::Args;

use super::volume::{Volume, named, shown};
use crate::failure::Failure;

/// Lost blocks that are named.
const MOST_NAMED: usize = 1000;

/// Check that the store has every block of every file; with --path, that directories
/// agree with their entries
#[derive(Args)]
pub(crate) struct FsckArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// A directory whose links, statistics and entries are checked
    #[arg(long)]
    path: Option<String>,
    /// Set right what is wrong with the directory
    #[arg(long, requires = "path")]
    repair: bool,
    /// Check the directories below, too
    #[arg(long, short, requires = "path")]
    recursive: bool,
    /// Set directories' statistics right, and make those that are missing
    #[arg(long, requires = "path")]
    sync_dir_stat: bool,
}

impl FsckArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        match &self.path {
            Some(path) => self.directories(volume, path).await,
            None => data(volume).await,
        }
    }

    async fn directories(&self, volume: Volume, path: &str) -> Result<(), Failure> {
        let options = DirOptions {
            recursive: self.recursive,
            repair: self.repair,
            sync_stats: self.sync_dir_stat,
            ..DirOptions::default()
        };
        let inside = volume.inside(path)?;
        let check = DirCheck::new(volume.meta, options);
        let checked = check.run(&shown(&inside)).await;
        let (checked, findings) = checked.map_err(|error| named(path, error))?;
        for finding in &findings {
            println!("{}", text(finding));
        }
        let left = findings.iter().filter(|one| !one.repaired).count();
        let repaired = findings.len() - left;
        println!("checked {checked} directories: {left} wrong, {repaired} repaired");
        if left == 0 {
            return Ok(());
        }
        Err(Failure::Damage(format!("{left} things are wrong")))
    }
}

async fn data(volume: Volume) -> Result<(), Failure> {
    let store = volume.store()?;
    let report = DataCheck::new(volume.meta, store, volume.format)
        .run()
        .await?;
    println!(
        "found {} blocks ({} bytes), used by {} slices ({} bytes)",
        report.blocks.number, report.blocks.bytes, report.slices.number, report.slices.bytes
    );
    let (mut lost, mut bytes, mut files) = (0, 0, std::collections::BTreeSet::new());
    for block in report.losses() {
        if lost < MOST_NAMED {
            println!("{}", lost_text(block, &report));
        }
        lost += 1;
        bytes += u64::from(block.size);
        files.insert(block.ino);
    }
    if lost == 0 {
        return Ok(());
    }
    let more = if report.more {
        ", and there are more"
    } else {
        ""
    };
    Err(Failure::Damage(format!(
        "{lost} blocks ({bytes} bytes) of {} files are lost{more}",
        files.len()
    )))
}

fn lost_text(block: &carafe_jobs::LostBlock, report: &DataReport) -> String {
    let paths = report.paths.get(&block.ino).into_iter().flatten();
    let paths: Vec<String> = paths.map(|path| shown(path)).collect();
    let how = match block.found {
        None => "is missing".to_owned(),
        Some(found) => format!("has {found} bytes and should have {}", block.size),
    };
    format!(
        "{} (inode {}): {} {how}",
        paths.join(", "),
        block.ino,
        block.key
    )
}

fn text(finding: &Finding) -> String {
    let path = shown(&finding.path);
    let what = match &finding.what {
        Wrong::NoAttributes => format!("attributes of {path} are missing"),
        Wrong::Links { says, has } => format!("nlink of {path} is {says} and should be {has}"),
        Wrong::Stat { says, has } => format!(
            "usage of {path} is {} bytes in {} inodes (lengths {}) and should be {} bytes in {} inodes (lengths {})",
            says.space, says.inodes, says.length, has.space, has.inodes, has.length
        ),
        Wrong::Entry(defect) => {
            let name = format!("{}/{}", path.trim_end_matches('/'), shown(&defect.name));
            match defect.what {
                Defect::Missing => format!("inode {} of {name} has no attributes", defect.ino),
                Defect::Parent(parent) => {
                    format!(
                        "inode {} of {name} says that it lies in directory {parent}",
                        defect.ino
                    )
                }
                Defect::Names { says, found } => {
                    format!("nlink of {name} is {says}, and it has {found} names")
                }
            }
        }
    };
    if finding.repaired {
        format!("{what}: repaired")
    } else {
        what
    }
}
