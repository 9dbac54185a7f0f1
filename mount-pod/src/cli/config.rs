//! `carafe config`: a volume's setting, shown and changed.

use carafe_types::{Format, Secret};
use clap::Args;

use super::{
    format::{absolute_bucket, gibibytes, store_failure},
    status::without_secrets,
    table::size,
    volume::Volume,
};
use crate::failure::Failure;

/// Show a volume's setting, or change what is named
#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// Never ask (this program never does)
    #[arg(long, short)]
    yes: bool,
    /// Change it without asking the store, or against what depends on it
    #[arg(long)]
    force: bool,
    /// The object store's kind
    #[arg(long)]
    storage: Option<String>,
    /// Where the store is
    #[arg(long)]
    bucket: Option<String>,
    /// The store's account
    #[arg(long, env = "ACCESS_KEY", hide_env_values = true)]
    access_key: Option<String>,
    /// The account's secret; better given in the environment
    #[arg(long, env = "SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,
    /// A temporary session's token
    #[arg(long, env = "SESSION_TOKEN", hide_env_values = true)]
    session_token: Option<String>,
    /// The storage class of new objects
    #[arg(long)]
    storage_class: Option<String>,
    /// Each client's upload limit in Mbit/s; 0 means none
    #[arg(long)]
    upload_limit: Option<i64>,
    /// Each client's download limit in Mbit/s; 0 means none
    #[arg(long)]
    download_limit: Option<i64>,
    /// The volume's limit of bytes; a bare number counts GiB, 0 means none
    #[arg(long, value_parser = gibibytes)]
    capacity: Option<u64>,
    /// The volume's limit of inodes; 0 means none
    #[arg(long)]
    inodes: Option<u64>,
    /// Days that deleted files stay in the trash; 0 means none
    #[arg(long)]
    trash_days: Option<u32>,
    /// Seal the secrets in the setting (this program always does)
    #[arg(long)]
    encrypt_secret: bool,
    /// The oldest client that may mount it
    #[arg(long)]
    min_client_version: Option<String>,
    /// The newest client that may mount it
    #[arg(long)]
    max_client_version: Option<String>,
    /// Keep directories' usage, which quotas and fast summaries need
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    dir_stats: Option<bool>,
}

impl ConfigArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let volume = Volume::open(&self.meta_url).await?;
        let old = volume.format.clone();
        let new = self.changed(&old)?;
        if new == old && !self.encrypt_secret {
            println!("{:#}", without_secrets(old));
            return Ok(());
        }
        self.check(&volume, &old, &new).await?;
        volume.meta.format(&volume.call, &new, false).await?;
        for line in differences(&old, &new) {
            println!("{line}");
        }
        Ok(())
    }

    fn changed(&self, old: &Format) -> Result<Format, Failure> {
        let mut new = old.clone();
        let text = |to: &mut String, from: Option<&String>| {
            if let Some(value) = from {
                to.clone_from(value);
            }
        };
        let secret = |to: &mut Secret, from: Option<&String>| {
            if let Some(value) = from {
                *to = Secret::new(value);
            }
        };
        text(&mut new.storage, self.storage.as_ref());
        text(&mut new.storage_class, self.storage_class.as_ref());
        text(&mut new.access_key, self.access_key.as_ref());
        text(
            &mut new.min_client_version,
            self.min_client_version.as_ref(),
        );
        text(
            &mut new.max_client_version,
            self.max_client_version.as_ref(),
        );
        secret(&mut new.secret_key, self.secret_key.as_ref());
        secret(&mut new.session_token, self.session_token.as_ref());
        if let Some(bucket) = &self.bucket {
            new.bucket = absolute_bucket(&new.storage, bucket.clone())?;
        }
        new.upload_limit = self.upload_limit.unwrap_or(old.upload_limit);
        new.download_limit = self.download_limit.unwrap_or(old.download_limit);
        new.capacity = self.capacity.unwrap_or(old.capacity);
        new.inodes = self.inodes.unwrap_or(old.inodes);
        new.trash_days = self.trash_days.unwrap_or(old.trash_days);
        new.dir_stats = self.dir_stats.unwrap_or(old.dir_stats);
        Ok(new)
    }

    async fn check(&self, volume: &Volume, old: &Format, new: &Format) -> Result<(), Failure> {
        let usable = new.check();
        usable.map_err(|error| Failure::Usage(error.to_string()))?;
        if self.force {
            return Ok(());
        }
        if old.dir_stats && !new.dir_stats && !volume.meta.quotas(&volume.call).await?.is_empty() {
            return Err(Failure::Usage(
                "directories have quotas, which need dir-stats: delete them first, or use --force"
                    .into(),
            ));
        }
        let store = |format: &Format| {
            (
                format.storage.clone(),
                format.bucket.clone(),
                format.access_key.clone(),
                format.secret_key.clone(),
                format.session_token.clone(),
            )
        };
        if store(old) != store(new) {
            let opened = carafe_object::open(new).map_err(store_failure)?;
            carafe_object::check(&opened).await.map_err(store_failure)?;
        }
        Ok(())
    }
}

/// What changed, without secrets.
fn differences(old: &Format, new: &Format) -> Vec<String> {
    let mut lines = Vec::new();
    let mut note = |name: &str, before: String, after: String| {
        if before != after {
            lines.push(format!("{name}: {before} -> {after}"));
        }
    };
    let both = |of: fn(&Format) -> String| (of(old), of(new));
    let fields: [(&str, (String, String)); 12] = [
        ("storage", both(|format| format.storage.clone())),
        ("bucket", both(|format| format.bucket.clone())),
        ("storage-class", both(|format| format.storage_class.clone())),
        ("access-key", both(|format| format.access_key.clone())),
        (
            "upload-limit",
            both(|format| format.upload_limit.to_string()),
        ),
        (
            "download-limit",
            both(|format| format.download_limit.to_string()),
        ),
        ("capacity", both(|format| size(format.capacity))),
        ("inodes", both(|format| format.inodes.to_string())),
        ("trash-days", both(|format| format.trash_days.to_string())),
        (
            "min-client-version",
            both(|format| format.min_client_version.clone()),
        ),
        (
            "max-client-version",
            both(|format| format.max_client_version.clone()),
        ),
        ("dir-stats", both(|format| format.dir_stats.to_string())),
    ];
    for (name, (before, after)) in fields {
        note(name, before, after);
    }
    if old.secret_key != new.secret_key {
        lines.push("secret-key: updated".into());
    }
    if old.session_token != new.session_token {
        lines.push("session-token: updated".into());
    }
    lines
}
