//! `carafe quota`: limits of directories.

use std::time::Duration;

use carafe_meta::{NewNode, Quota, QuotaUsage};
use carafe_types::{Attr, Error, FileType, Ino};
use clap::{Args, ValueEnum};

use super::{
    format::gibibytes,
    table::{percent, size, table},
    volume::{Volume, named, shown},
};
use crate::failure::Failure;

/// Clients of JuiceFS book usage every three seconds: a difference that stays longer is real.
const SETTLE: Duration = Duration::from_secs(4);
/// How often a difference that changes is looked at again.
const LOOKS: usize = 4;

/// Set, show, remove or check the quota of a directory
#[derive(Args)]
pub(crate) struct QuotaArgs {
    /// What to do
    command: Action,
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// The directory
    #[arg(long)]
    path: Option<String>,
    /// set: make the directory if it is not there
    #[arg(long)]
    create: bool,
    /// set: the limit of bytes; a bare number counts GiB, 0 means none
    #[arg(long, value_parser = gibibytes)]
    capacity: Option<u64>,
    /// set: the limit of inodes; 0 means none
    #[arg(long)]
    inodes: Option<u64>,
    /// check: set usage right
    #[arg(long)]
    repair: bool,
    /// check: count files where directories' statistics would answer
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Action {
    Set,
    Get,
    #[value(alias = "ls")]
    List,
    #[value(alias = "del")]
    Delete,
    Check,
}

impl QuotaArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        if matches!(self.command, Action::List) {
            return list(&volume).await;
        }
        let path = self
            .path
            .as_deref()
            .ok_or_else(|| Failure::Usage("--path says which directory".into()))?;
        match self.command {
            Action::Set => self.set(&volume, path).await,
            Action::Get => {
                let (_, quota) = get(&volume, path).await?;
                println!("{}", rows(&[(path.to_owned(), quota)]));
                Ok(())
            }
            Action::Delete => {
                let (dir, _) = get(&volume, path).await?;
                Ok(volume.meta.remove_quota(&volume.call, dir).await?)
            }
            Action::Check => self.check(&volume, path).await,
            Action::List => Ok(()),
        }
    }

    async fn set(&self, volume: &Volume, path: &str) -> Result<(), Failure> {
        if self.capacity.is_none() && self.inodes.is_none() {
            return Err(Failure::Usage(
                "--capacity or --inodes says how much".into(),
            ));
        }
        let (dir, _) = self.directory(volume, path).await?;
        if dir == Ino::ROOT {
            return Err(Failure::Usage(
                "the whole volume's limits are set by `carafe config`".into(),
            ));
        }
        let old = volume.meta.quota(&volume.call, dir).await?;
        let old = old.unwrap_or_default().quota;
        let quota = Quota {
            max_bytes: self.capacity.unwrap_or(old.max_bytes),
            max_inodes: self.inodes.unwrap_or(old.max_inodes),
        };
        volume.meta.set_quota(&volume.call, dir, quota).await?;
        let (_, quota) = get(volume, path).await?;
        println!("{}", rows(&[(path.to_owned(), quota)]));
        Ok(())
    }

    async fn directory(&self, volume: &Volume, path: &str) -> Result<(Ino, Attr), Failure> {
        match volume.find(path).await {
            Err(_) if self.create => {
                let (parent, name) = volume.place(path).await?;
                let node = NewNode {
                    kind: FileType::Directory,
                    mode: 0o777,
                    ..NewNode::default()
                };
                let made = volume.meta.create(&volume.call, parent, &name, &node).await;
                made.map_err(|error| named(path, error))
            }
            found => found,
        }
    }

    /// Compares a quota's usage with its tree. A difference counts if it is the same
    /// some seconds later: others book what they do in their own time.
    async fn check(&self, volume: &Volume, path: &str) -> Result<(), Failure> {
        let (dir, _) = get(volume, path).await?;
        let mut gap = self.gap(volume, path, dir).await?;
        for _ in 0..LOOKS {
            if gap == (0, 0) {
                println!("quota of {path} is consistent");
                return Ok(());
            }
            tokio::time::sleep(SETTLE).await;
            let now = self.gap(volume, path, dir).await?;
            if now == gap {
                return self.judge(volume, path, dir, gap).await;
            }
            gap = now;
        }
        Err(Failure::Damage(format!(
            "{path} changes too fast for its quota's usage to be judged"
        )))
    }

    /// What was not booked: bytes and inodes.
    async fn gap(&self, volume: &Volume, path: &str, dir: Ino) -> Result<(i64, i64), Failure> {
        let usage = volume
            .meta
            .usage(&volume.call, dir, true, self.strict)
            .await?;
        let (_, quota) = get(volume, path).await?;
        // The directory itself is not part of what its quota counts.
        let space = usage.space as i64 - 4096;
        let inodes = (usage.files + usage.dirs) as i64 - 1;
        Ok((space - quota.used_bytes, inodes - quota.used_inodes))
    }

    async fn judge(
        &self,
        volume: &Volume,
        path: &str,
        dir: Ino,
        (space, inodes): (i64, i64),
    ) -> Result<(), Failure> {
        let what = format!("the usage of {path} lacks {space} bytes and {inodes} inodes");
        if !self.repair {
            return Err(Failure::Damage(format!("{what}; --repair adds them")));
        }
        volume
            .meta
            .adjust_quota(&volume.call, dir, space, inodes)
            .await?;
        println!("{what}: repaired");
        Ok(())
    }
}

async fn get(volume: &Volume, path: &str) -> Result<(Ino, QuotaUsage), Failure> {
    let (dir, _) = volume.find(path).await?;
    let quota = volume.meta.quota(&volume.call, dir).await?;
    let none = || Failure::Usage(format!("{path} has no quota"));
    Ok((dir, quota.ok_or_else(none)?))
}

async fn list(volume: &Volume) -> Result<(), Failure> {
    let mut quotas = Vec::new();
    for (dir, quota) in volume.meta.quotas(&volume.call).await? {
        let paths = match volume.meta.paths(&volume.call, dir).await {
            Err(Error::NotFound) => Vec::new(),
            other => other?,
        };
        let path = paths.first().map(|path| shown(path));
        quotas.push((path.unwrap_or_else(|| format!("inode {dir}")), quota));
    }
    println!("{}", rows(&quotas));
    Ok(())
}

fn rows(quotas: &[(String, QuotaUsage)]) -> String {
    let row = |(path, usage): &(String, QuotaUsage)| {
        let QuotaUsage {
            quota,
            used_bytes,
            used_inodes,
        } = *usage;
        let bytes = (quota.max_bytes > 0).then(|| size(quota.max_bytes));
        let inodes = (quota.max_inodes > 0).then(|| quota.max_inodes.to_string());
        vec![
            path.clone(),
            bytes.unwrap_or_else(|| "unlimited".into()),
            size(used_bytes.max(0) as u64),
            percent(used_bytes, quota.max_bytes),
            inodes.unwrap_or_else(|| "unlimited".into()),
            used_inodes.to_string(),
            percent(used_inodes, quota.max_inodes),
        ]
    };
    let heads = ["Path", "Size", "Used", "Use%", "Inodes", "IUsed", "IUse%"];
    table(&heads, &quotas.iter().map(row).collect::<Vec<_>>())
}
