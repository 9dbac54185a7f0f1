//! `carafe format`: makes a volume.

use carafe_api::{SizeError, parse_size};
use carafe_jobs::{FormatFailure, Formatting, format_volume};
use carafe_meta::Call;
use carafe_types::{Compression, Format, Secret};
use clap::{Args, ValueEnum};

use crate::{engine, failure::Failure};

/// Format a volume: write its setting into the metadata engine
#[derive(Args)]
pub(crate) struct FormatArgs {
    /// The metadata engine, e.g. redis://host:6379/1 or sqlite3://path.db
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// The volume's name: 3 to 63 of a-z, 0-9 and -
    name: String,
    /// The object store's kind
    #[arg(long, default_value = "file")]
    storage: String,
    /// Where the store is: a directory for `file`, an endpoint with the bucket for S3
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
    /// The block size; a bare number counts KiB
    #[arg(long, default_value = "4M", value_parser = kibibytes)]
    block_size: u64,
    /// How blocks are compressed
    #[arg(long, default_value = "none")]
    compress: CompressArg,
    /// Spread the objects over N buckets (the bucket's name holds %d)
    #[arg(long, default_value_t = 0)]
    shards: u32,
    /// Begin object keys with a hash
    #[arg(long)]
    hash_prefix: bool,
    /// The volume's limit; a bare number counts GiB, 0 means none
    #[arg(long, default_value = "0", value_parser = gibibytes)]
    capacity: u64,
    /// The volume's limit of inodes; 0 means none
    #[arg(long, default_value_t = 0)]
    inodes: u64,
    /// Days that deleted files stay in the trash; 0 means none
    #[arg(long, default_value_t = 1)]
    trash_days: u32,
    /// POSIX access control lists; they cannot be taken away again
    #[arg(long)]
    enable_acl: bool,
    /// Replace the setting of an engine that is formatted already
    #[arg(long)]
    force: bool,
    /// Leave an existing volume as it is
    #[arg(long)]
    no_update: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompressArg {
    None,
    Lz4,
    Zstd,
}

impl FormatArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        check_name(&self.name)?;
        let meta = engine::connect(&self.meta_url).await?;
        for warning in engine::warnings(meta.as_ref()).await? {
            eprintln!("carafe: warning: {warning}");
        }
        let existing = engine::load_if_formatted(meta.as_ref()).await?;
        if existing.is_some() && self.no_update {
            println!("the volume exists and stays as it is (--no-update)");
            return Ok(());
        }
        let how = match existing {
            None => Formatting::New,
            Some(_) if self.force => Formatting::Replace,
            Some(_) => Formatting::Again,
        };
        let format = self.setting(existing)?;
        format
            .check()
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let store = carafe_object::open(&format).map_err(store_failure)?;
        format_volume(meta.as_ref(), &store, &Call::internal(), &format, how)
            .await
            .map_err(failure)?;
        println!(
            "volume {} is formatted: metadata in {}, data in {}",
            format.name,
            meta.name(),
            format.bucket
        );
        Ok(())
    }

    /// The new setting: what the arguments say, upon what an existing volume has.
    fn setting(self, existing: Option<Format>) -> Result<Format, Failure> {
        let fresh = Format {
            uuid: uuid::Uuid::new_v4().to_string(),
            ..Format::default()
        };
        let base = if self.force {
            fresh
        } else {
            existing.unwrap_or(fresh)
        };
        let bucket = self.bucket.unwrap_or_else(|| default_bucket(&base));
        Ok(Format {
            name: self.name,
            bucket: absolute_bucket(&self.storage, bucket)?,
            storage: self.storage,
            access_key: self.access_key.unwrap_or(base.access_key),
            secret_key: self.secret_key.map_or(base.secret_key, Secret::new),
            session_token: self.session_token.map_or(base.session_token, Secret::new),
            block_size: (self.block_size >> 10) as u32,
            compression: self.compress.into(),
            shards: self.shards,
            hash_prefix: self.hash_prefix,
            capacity: self.capacity,
            inodes: self.inodes,
            trash_days: self.trash_days,
            ..base
        }
        .with_acls(self.enable_acl))
    }
}

impl From<CompressArg> for Compression {
    fn from(arg: CompressArg) -> Self {
        match arg {
            CompressArg::None => Self::None,
            CompressArg::Lz4 => Self::Lz4,
            CompressArg::Zstd => Self::Zstd,
        }
    }
}

fn failure(failure: FormatFailure) -> Failure {
    match failure {
        FormatFailure::Store(_) | FormatFailure::NotEmpty(_) => store_failure(failure),
        FormatFailure::Engine(error) => error.into(),
    }
}

pub(super) fn store_failure(error: impl std::fmt::Display) -> Failure {
    Failure::Store(error.to_string())
}

/// A bare number counts GiB.
pub(super) fn gibibytes(text: &str) -> Result<u64, SizeError> {
    parse_size(text, 1 << 30)
}

/// A bare number counts KiB.
fn kibibytes(text: &str) -> Result<u64, SizeError> {
    parse_size(text, 1 << 10)
}

/// The name stands in object keys and bucket names, so it is held to their rules.
fn check_name(name: &str) -> Result<(), Failure> {
    let fits = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{name:?} is no volume name: use 3 to 63 of a-z, 0-9 and -, not at the ends"
    )))
}

fn default_bucket(base: &Format) -> String {
    if base.bucket.is_empty() {
        "/var/jfs/".into()
    } else {
        base.bucket.clone()
    }
}

/// Mounts may start in another directory, so a `file` store's is made absolute,
/// and ends in `/` as the peer writes it.
pub(super) fn absolute_bucket(storage: &str, bucket: String) -> Result<String, Failure> {
    if storage != "file" {
        return Ok(bucket);
    }
    let absolute =
        std::path::absolute(&bucket).map_err(Failure::system(format!("bucket {bucket}")))?;
    Ok(format!(
        "{}/",
        absolute.display().to_string().trim_end_matches('/')
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_buckets_rules() {
        for good in ["abc", "my-volume-1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["ab", "Abc", "-abc", "abc-", "a/b/c", "a..b", ""] {
            assert!(check_name(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
