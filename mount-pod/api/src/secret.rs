//! The volume secret: the fields of a Kubernetes Secret as JuiceFS users have them.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use carafe_types::{Compression, Format, Secret};
use serde::{Deserialize, Serialize};

use crate::parse_size;

/// The fields of a file system's Secret. Unknown fields are ignored, as in JuiceFS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct VolumeSecret {
    /// The file system's name.
    pub name: String,
    /// The metadata engine's URL; may hold a password.
    pub metaurl: Secret,
    /// The object store's kind (`s3`, `minio`, `file` …).
    pub storage: String,
    /// The bucket's URL, or a directory.
    pub bucket: String,
    /// The store's account.
    pub access_key: String,
    /// The account's secret.
    pub secret_key: Secret,
    /// A temporary session's token.
    pub token: Secret,
    /// Options of `juicefs format`, as `trash-days=1,block-size=4096`; keys may stand
    /// among them.
    pub format_options: Secret,
    /// Environment variables: `META_PASSWORD`, `JFS_RSA_PASSPHRASE` …
    pub envs: BTreeMap<String, Secret>,
    /// The private RSA key (PEM) of an encrypted volume.
    pub encrypt_rsa_key: Secret,
    /// The volume's UUID, where the Secret pins it.
    pub uuid: String,
}

/// What is wrong with a Secret. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// A needed field is missing or empty.
    #[error("the Secret has no field {0:?}: add it ({1})")]
    Missing(&'static str, &'static str),
    /// `envs` is not an object of texts.
    #[error(
        "the Secret's field \"envs\" is not a JSON object of texts, such as {{\"META_PASSWORD\": \"…\"}}"
    )]
    Envs,
    /// A format option that nobody knows, or with a bad value.
    #[error("the Secret's field \"format-options\": {0}")]
    FormatOptions(String),
}

impl VolumeSecret {
    /// Reads a Secret's data.
    pub fn from_fields<'a>(
        fields: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, SecretError> {
        let mut secret = Self::default();
        for (key, value) in fields {
            secret.set(key, value)?;
        }
        if secret.metaurl.is_empty() {
            return Err(SecretError::Missing(
                "metaurl",
                "for example redis://:password@host:6379/1",
            ));
        }
        Ok(secret)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SecretError> {
        let text = value.trim().to_owned();
        match key {
            "name" => self.name = text,
            "metaurl" => self.metaurl = Secret::new(text),
            "storage" => self.storage = text,
            "bucket" => self.bucket = text,
            "access-key" | "access_key" => self.access_key = text,
            "secret-key" | "secret_key" => self.secret_key = Secret::new(text),
            "token" | "session-token" => self.token = Secret::new(text),
            "format-options" => self.format_options = Secret::new(text),
            "encrypt_rsa_key" | "encrypt-rsa-key" => self.encrypt_rsa_key = Secret::new(value),
            "uuid" => self.uuid = text,
            "envs" if !text.is_empty() => {
                self.envs = serde_json::from_str(&text).map_err(|_| SecretError::Envs)?;
            }
            "meta-password" => {
                self.envs.insert("META_PASSWORD".into(), Secret::new(text));
            }
            _ => {}
        }
        Ok(())
    }

    /// The metadata engine's password where the URL has none.
    pub fn meta_password(&self) -> Option<Secret> {
        self.env("META_PASSWORD")
    }

    /// The password of Redis's sentinels.
    pub fn sentinel_password(&self) -> Option<Secret> {
        self.env("SENTINEL_PASSWORD")
    }

    fn env(&self, name: &str) -> Option<Secret> {
        let text = self.envs.get(name);
        text.filter(|text| !text.is_empty()).cloned()
    }

    /// Equal secrets have equal fingerprints, and one tells nothing of the other.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut out = [0; 32];
        // A struct of texts always serialises; an empty input would only cost a cache hit.
        let json = serde_json::to_vec(self).unwrap_or_default();
        out.copy_from_slice(digest(&SHA256, &json).as_ref());
        out
    }

    /// Whether there is enough here to format a new file system.
    fn can_format(&self) -> Result<(), SecretError> {
        if self.name.is_empty() {
            return Err(SecretError::Missing(
                "name",
                "the file system's name, as for `juicefs format`",
            ));
        }
        if self.bucket.is_empty() {
            return Err(SecretError::Missing(
                "bucket",
                "where the data goes, for example http://minio:9000/bucket",
            ));
        }
        // Without the field, data would go into a directory of that name.
        if self.storage.is_empty() && self.bucket.contains("://") {
            return Err(SecretError::Missing(
                "storage",
                "the kind of store that the bucket's URL is of, for example s3",
            ));
        }
        Ok(())
    }

    /// The setting of a new file system, without a UUID of its own unless the
    /// Secret pins one.
    pub fn new_format(&self) -> Result<Format, SecretError> {
        self.can_format()?;
        let mut format = Format {
            name: self.name.clone(),
            uuid: self.uuid.clone(),
            bucket: self.bucket.clone(),
            ..Format::default()
        };
        if !self.storage.is_empty() {
            format.storage.clone_from(&self.storage);
        }
        self.apply_credentials(&mut format);
        for option in self
            .format_options
            .expose()
            .split(',')
            .map(str::trim)
            .filter(|o| !o.is_empty())
        {
            apply_format_option(&mut format, option.trim_start_matches('-'))?;
        }
        Ok(format)
    }

    /// Puts this Secret's credentials over those of a loaded setting: how a rotated
    /// key reaches a client before anybody rewrites the setting.
    pub fn apply_credentials(&self, format: &mut Format) {
        if !self.access_key.is_empty() {
            format.access_key.clone_from(&self.access_key);
        }
        for (ours, theirs) in [
            (&self.secret_key, &mut format.secret_key),
            (&self.token, &mut format.session_token),
            (&self.encrypt_rsa_key, &mut format.encrypt_key),
        ] {
            if !ours.is_empty() {
                theirs.clone_from(ours);
            }
        }
    }
}

fn apply_format_option(format: &mut Format, option: &str) -> Result<(), SecretError> {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    let bad = || SecretError::FormatOptions(format!("the value of {key} cannot be read"));
    let flag = || {
        matches!(value, "" | "true" | "1")
            .then_some(true)
            .or((value == "false").then_some(false))
    };
    match key {
        "block-size" => format.block_size = kib(value).ok_or_else(bad)?,
        "compress" => format.compression = compression(value).ok_or_else(bad)?,
        "trash-days" => format.trash_days = value.parse().map_err(|_| bad())?,
        "capacity" => format.capacity = parse_size(value, 1 << 30).map_err(|_| bad())?,
        "inodes" => format.inodes = value.parse().map_err(|_| bad())?,
        "shards" => format.shards = value.parse().map_err(|_| bad())?,
        "hash-prefix" => format.hash_prefix = flag().ok_or_else(bad)?,
        "enable-acl" => {
            *format = std::mem::take(format).with_acls(flag().ok_or_else(bad)?);
        }
        "storage-class" => value.clone_into(&mut format.storage_class),
        "encrypt-algo" => value.clone_into(&mut format.encrypt_algo),
        "access-key" => value.clone_into(&mut format.access_key),
        "secret-key" => format.secret_key = Secret::new(value),
        "session-token" => format.session_token = Secret::new(value),
        "bucket" => value.clone_into(&mut format.bucket),
        "storage" => value.clone_into(&mut format.storage),
        // The peer's switches that change nothing in the setting here.
        "no-update" | "force" | "no-agent" | "verbose" | "quiet" | "debug" | "trace"
        | "no-color" => {}
        _ => {
            return Err(SecretError::FormatOptions(unknown(option, key)));
        }
    }
    Ok(())
}

/// What looks like a name is named. All else may be the rest of a key with a comma.
fn unknown(option: &str, key: &str) -> String {
    let is_name = key.len() < 32 && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if is_name && option.contains('=') {
        format!("there is no option {key:?}")
    } else {
        "one of them is not NAME=VALUE with a known name; values cannot hold commas".into()
    }
}

/// A block size in KiB; a bare number counts KiB.
fn kib(value: &str) -> Option<u32> {
    let bytes = parse_size(value, 1 << 10).ok()?;
    u32::try_from(bytes >> 10).ok()
}

fn compression(value: &str) -> Option<Compression> {
    Some(match value {
        "none" | "" => Compression::None,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_juicefs_secret_becomes_a_setting() {
        let fields = fields(&[
            ("name", "demo"),
            ("metaurl", "redis://:pw@redis:6379/1"),
            ("storage", "minio"),
            ("bucket", "http://minio:9000/demo"),
            ("access-key", "a"),
            ("secret-key", "b"),
            ("format-options", "trash-days=7,block-size=1M,compress=lz4"),
            ("envs", "{\"META_PASSWORD\": \"x\"}"),
            ("something", "else"),
        ]);
        let secret = VolumeSecret::from_fields(&fields).unwrap();
        let format = secret.new_format().unwrap();
        assert_eq!(
            (format.block_size, format.trash_days, format.compression),
            (1024, 7, Compression::Lz4)
        );
        assert_eq!(secret.meta_password(), Some(Secret::new("x")));
        assert!(
            !["pw", "trash-days"]
                .iter()
                .any(|hidden| format!("{secret:?}").contains(hidden)),
            "nothing secret is printed"
        );
    }

    #[test]
    fn sizes_of_format_options_take_units() {
        let secret = VolumeSecret {
            name: "n".into(),
            bucket: "b".into(),
            format_options: Secret::new("block-size=1MiB,capacity=1.5T"),
            ..VolumeSecret::default()
        };
        let format = secret.new_format().unwrap();
        assert_eq!((format.block_size, format.capacity), (1024, 3 << 39));
        let huge = VolumeSecret {
            format_options: Secret::new("capacity=18446744073709551615"),
            ..secret
        };
        assert!(huge.new_format().is_err(), "it is not shifted away");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = VolumeSecret::from_fields(&fields(&[("name", "demo")])).unwrap_err();
        assert!(error.to_string().contains("metaurl"), "{error}");
        let secret = VolumeSecret::from_fields(&fields(&[("metaurl", "sqlite3:///x")])).unwrap();
        assert!(matches!(
            secret.new_format(),
            Err(SecretError::Missing("name", _))
        ));
    }

    #[test]
    fn the_rest_of_a_key_is_not_repeated() {
        for options in [
            "secret-key=ab,cd",
            "secret-key=ab,CD=",
            "secret-key:cd",
            "trash-days=cd",
        ] {
            let secret = VolumeSecret {
                name: "n".into(),
                bucket: "b".into(),
                format_options: Secret::new(options),
                ..VolumeSecret::default()
            };
            let error = secret.new_format().unwrap_err().to_string();
            assert!(!error.to_lowercase().contains("cd"), "{error}");
        }
    }

    #[test]
    fn an_unknown_format_option_is_named() {
        let secret = VolumeSecret {
            name: "n".into(),
            bucket: "b".into(),
            format_options: Secret::new("trash-dais=1"),
            ..VolumeSecret::default()
        };
        assert!(
            secret
                .new_format()
                .unwrap_err()
                .to_string()
                .contains("trash-dais")
        );
    }

    #[test]
    fn a_changed_key_changes_the_fingerprint() {
        let one = VolumeSecret {
            secret_key: Secret::new("1"),
            ..VolumeSecret::default()
        };
        let two = VolumeSecret {
            secret_key: Secret::new("2"),
            ..VolumeSecret::default()
        };
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.fingerprint(), one.clone().fingerprint());
    }
}
