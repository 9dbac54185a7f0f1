//! From a volume's setting to its store.

use std::sync::Arc;

use carafe_types::{Compression, Format};

use crate::{
    Bounded, Checksummed, Compressed, Credentials, Deadlines, File, ObjectStore, OpenError,
    Prefixed, RetryPolicy, Retrying, Sharded,
    s3::{Bucket, Family, S3},
};

/// The kinds of store that this build can open, as `--storage` spells them.
pub const BUILT: &[&str] = &["file", "s3", "minio"];

/// How patient a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// How long one request may take.
    pub deadlines: Deadlines,
    /// How often it is sent again.
    pub retry: RetryPolicy,
}

/// The store of the volume with this setting, whose secrets must be open. Sends
/// nothing yet: see [`crate::check`].
pub fn open(format: &Format) -> Result<Arc<dyn ObjectStore>, OpenError> {
    open_with(format, OpenOptions::default())
}

/// As [`open`], with other patience.
pub fn open_with(format: &Format, options: OpenOptions) -> Result<Arc<dyn ObjectStore>, OpenError> {
    if format.key_encrypted {
        return Err(OpenError::Sealed);
    }
    if !format.encrypt_key.is_empty() {
        return Err(OpenError::Encrypted(format.encrypt_algo.clone()));
    }
    let sharded = shards(format, options)?;
    let prefixed: Arc<dyn ObjectStore> =
        Arc::new(Prefixed::new(sharded, format!("{}/", format.name)));
    Ok(match format.compression {
        Compression::None => prefixed,
        algorithm => Arc::new(Compressed::new(prefixed, algorithm)),
    })
}

fn shards(format: &Format, options: OpenOptions) -> Result<Arc<dyn ObjectStore>, OpenError> {
    if format.shards < 2 {
        return bucket(format, &format.bucket, options);
    }
    if !format.bucket.contains("%d") {
        let reason = format!("there are {} shards, so it must hold %d", format.shards);
        return Err(OpenError::Bucket {
            bucket: format.bucket.clone(),
            reason,
        });
    }
    let shard = |number: u32| {
        bucket(
            format,
            &format.bucket.replacen("%d", &number.to_string(), 1),
            options,
        )
    };
    Ok(Arc::new(Sharded::new(
        (0..format.shards).map(shard).collect::<Result<_, _>>()?,
    )))
}

/// One bucket with what every bucket gets: checked, bounded, retried.
fn bucket(
    format: &Format,
    bucket: &str,
    options: OpenOptions,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let back_end = back_end(format, bucket)?;
    let checked = Arc::new(Checksummed::new(back_end));
    let bounded = Arc::new(Bounded::new(checked, options.deadlines));
    Ok(Arc::new(Retrying::new(bounded, options.retry)))
}

fn back_end(format: &Format, bucket: &str) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let s3 = |family| -> Result<Arc<dyn ObjectStore>, OpenError> {
        let bucket = Bucket::parse(family, bucket, |name| std::env::var(name).ok())?;
        Ok(Arc::new(S3::open(
            bucket,
            &format.storage_class,
            &Credentials::from(format),
        )?))
    };
    match format.storage.to_lowercase().as_str() {
        "file" => Ok(Arc::new(File::new(bucket))),
        "s3" => s3(Family::Amazon),
        "minio" => s3(Family::Minio),
        other => Err(OpenError::NotBuilt(other.into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use carafe_types::Secret;

    use super::*;

    #[test]
    fn an_unknown_storage_lists_those_that_are_built() {
        let refused = open(&Format {
            storage: "gluster".into(),
            ..Format::default()
        })
        .unwrap_err()
        .to_string();
        assert!(
            refused.contains("gluster") && BUILT.iter().all(|name| refused.contains(name)),
            "{refused}"
        );
    }

    #[test]
    fn an_encrypted_or_sealed_volume_is_refused() {
        let encrypted = Format {
            encrypt_key: Secret::new("pem"),
            encrypt_algo: "aes256gcm-rsa".into(),
            ..Format::default()
        };
        assert_eq!(
            open(&encrypted).unwrap_err(),
            OpenError::Encrypted("aes256gcm-rsa".into())
        );
        assert_eq!(
            open(&Format {
                key_encrypted: true,
                ..Format::default()
            })
            .unwrap_err(),
            OpenError::Sealed
        );
    }

    #[test]
    fn shards_need_a_pattern() {
        let format = Format {
            shards: 3,
            bucket: "/tmp/a/".into(),
            ..Format::default()
        };
        assert!(
            matches!(open(&format), Err(OpenError::Bucket { .. })),
            "no %d"
        );
    }
}
