//! The volume's setting: one JSON document that every client reads at mount.

use serde::{Deserialize, Serialize};

use crate::{Secret, open_secret, seal_secret};

/// The MetaVersion that this build reads and writes.
pub const META_VERSION: i64 = 1;
/// The first client that knows access control lists, as `juicefs format --enable-acl`
/// writes it.
const ACL_CLIENT_VERSION: &str = "1.2.0-A";

/// A volume's setting, field by field as JuiceFS CE 1.3 names them. Fields that
/// this version does not know are kept as they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Format {
    /// The file system's name; also the first part of each object's key.
    pub name: String,
    /// Chosen at format; never changes.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// The object store's kind: `file`, `s3`, `minio`, …
    pub storage: String,
    /// The storage class that new objects get.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub storage_class: String,
    /// Where the store is: a directory or an endpoint with the bucket.
    pub bucket: String,
    /// The store's account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access_key: String,
    /// The account's secret; sealed if [`Format::key_encrypted`].
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub secret_key: Secret,
    /// A temporary session's token; sealed as the secret is.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub session_token: Secret,
    /// The block size in KiB: 64 to 16384.
    pub block_size: u32,
    /// The blocks' compression.
    #[serde(skip_serializing_if = "Compression::is_none")]
    pub compression: Compression,
    /// Over how many buckets the objects are spread; 0 means one.
    #[serde(skip_serializing_if = "is_default")]
    pub shards: u32,
    /// Whether object keys begin with a hash.
    #[serde(skip_serializing_if = "is_default")]
    pub hash_prefix: bool,
    /// The volume's limit in bytes; 0 means none.
    #[serde(skip_serializing_if = "is_default")]
    pub capacity: u64,
    /// The volume's limit of inodes; 0 means none.
    #[serde(skip_serializing_if = "is_default")]
    pub inodes: u64,
    /// The private RSA key (PEM) that wraps the data keys; empty means that
    /// objects are plain, whatever the algorithm's name says.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub encrypt_key: Secret,
    /// `aes256gcm-rsa` or `chacha20-rsa`; the peer writes it in plain volumes too.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub encrypt_algo: String,
    /// Whether the secrets in this document are sealed.
    #[serde(skip_serializing_if = "is_default")]
    pub key_encrypted: bool,
    /// Each client's upload limit in Mbit/s; 0 means none.
    #[serde(skip_serializing_if = "is_default")]
    pub upload_limit: i64,
    /// Each client's download limit in Mbit/s; 0 means none.
    #[serde(skip_serializing_if = "is_default")]
    pub download_limit: i64,
    /// Days that deleted files stay in the trash; 0 means none.
    pub trash_days: u32,
    /// The format's version.
    #[serde(skip_serializing_if = "is_default")]
    pub meta_version: i64,
    /// The oldest client that may mount it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_client_version: String,
    /// The newest client that may mount it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_client_version: String,
    /// Whether directories' usage is kept.
    #[serde(skip_serializing_if = "is_default")]
    pub dir_stats: bool,
    /// Whether POSIX ACLs are in use.
    #[serde(rename = "EnableACL")]
    pub enable_acl: bool,
    /// Fields of other versions, kept as they were read.
    #[serde(flatten)]
    pub others: serde_json::Map<String, serde_json::Value>,
}

/// How blocks are compressed. The spellings are the setting's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Plain.
    #[default]
    #[serde(rename = "none", alias = "")]
    None,
    /// A raw LZ4 block.
    #[serde(rename = "lz4")]
    Lz4,
    /// Zstandard, level 1.
    #[serde(rename = "zstd")]
    Zstd,
}

impl Compression {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Why a setting cannot be used by this build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A later format.
    #[error("the volume has MetaVersion {0}, this build reads {META_VERSION}: use a newer carafe")]
    MetaVersion(i64),
    /// The setting asks for a newer client.
    #[error("the volume wants clients from version {0} on, this build speaks the format of 1.3")]
    MinClientVersion(String),
    /// The setting's secrets do not open.
    #[error(
        "the secrets in the volume's setting do not open with its UUID: the setting is damaged"
    )]
    Secrets,
    /// A block size that the format cannot have.
    #[error("a block size of {0} KiB is not between 64 and 16384 KiB")]
    BlockSize(u32),
}

impl Default for Format {
    fn default() -> Self {
        Self {
            name: String::new(),
            uuid: String::new(),
            storage: "file".into(),
            storage_class: String::new(),
            bucket: String::new(),
            access_key: String::new(),
            secret_key: Secret::default(),
            session_token: Secret::default(),
            block_size: 4096,
            compression: Compression::None,
            shards: 0,
            hash_prefix: false,
            capacity: 0,
            inodes: 0,
            encrypt_key: Secret::default(),
            encrypt_algo: String::new(),
            key_encrypted: false,
            upload_limit: 0,
            download_limit: 0,
            trash_days: 1,
            meta_version: META_VERSION,
            min_client_version: "1.1.0-A".into(),
            max_client_version: String::new(),
            dir_stats: true,
            enable_acl: false,
            others: serde_json::Map::new(),
        }
    }
}

impl Format {
    /// The block size in bytes.
    pub fn block_bytes(&self) -> u32 {
        self.block_size * 1024
    }

    /// The setting with access control lists, if `enable`. They stay, and keep clients
    /// away that do not know them.
    #[must_use]
    pub fn with_acls(mut self, enable: bool) -> Self {
        if enable {
            self.enable_acl = true;
            if release(&self.min_client_version) < release(ACL_CLIENT_VERSION) {
                self.min_client_version = ACL_CLIENT_VERSION.into();
            }
        }
        self
    }

    /// Whether this build can serve the volume.
    pub fn check(&self) -> Result<(), FormatError> {
        if self.meta_version > META_VERSION {
            return Err(FormatError::MetaVersion(self.meta_version));
        }
        if release(&self.min_client_version) > (1, 3) {
            return Err(FormatError::MinClientVersion(
                self.min_client_version.clone(),
            ));
        }
        if !(64..=16384).contains(&self.block_size) {
            return Err(FormatError::BlockSize(self.block_size));
        }
        Ok(())
    }

    /// Seals the secrets for the database; `nonce` gives fresh random bytes at each call.
    pub fn sealed(&self, mut nonce: impl FnMut() -> [u8; 12]) -> Result<Self, FormatError> {
        if self.key_encrypted {
            return Ok(self.clone());
        }
        let mut sealed = self.clone();
        for secret in sealed.secrets() {
            *secret = seal_secret(&self.uuid, secret, nonce()).ok_or(FormatError::Secrets)?;
        }
        sealed.key_encrypted = sealed.secrets().iter().any(|secret| !secret.is_empty());
        Ok(sealed)
    }

    /// The setting with its secrets readable, for use in memory only.
    pub fn opened(&self) -> Result<Self, FormatError> {
        let mut opened = self.clone();
        if !opened.key_encrypted {
            return Ok(opened);
        }
        for secret in opened.secrets() {
            *secret = open_secret(&self.uuid, secret).ok_or(FormatError::Secrets)?;
        }
        opened.key_encrypted = false;
        Ok(opened)
    }

    fn secrets(&mut self) -> [&mut Secret; 3] {
        [
            &mut self.secret_key,
            &mut self.session_token,
            &mut self.encrypt_key,
        ]
    }
}

/// Major and minor of a version like `1.1.0-A`; nothing is the oldest.
fn release(version: &str) -> (u32, u32) {
    let mut parts = version
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `juicefs format --storage minio` of 1.3 wrote it.
    const PEER: &str = r#"{"Name":"demo","UUID":"0c0d9c4c-8c2e-4a8b-9f0e-0a7b0c1d2e3f","Storage":"minio","Bucket":"http://127.0.0.1:9000/demo","AccessKey":"minio","BlockSize":4096,"Compression":"none","EncryptAlgo":"aes256gcm-rsa","TrashDays":1,"MetaVersion":1,"MinClientVersion":"1.1.0-A","DirStats":true,"EnableACL":false,"Novel":{"a":1}}"#;

    #[test]
    fn the_peers_setting_is_read_and_unknown_fields_are_kept() {
        let format: Format = serde_json::from_str(PEER).unwrap();
        assert_eq!(
            (format.name.as_str(), format.block_bytes(), format.check()),
            ("demo", 4 << 20, Ok(()))
        );
        let back: serde_json::Value = serde_json::to_value(&format).unwrap();
        assert_eq!(back["Novel"]["a"], 1, "unknown fields survive");
        assert_eq!(back["UUID"], "0c0d9c4c-8c2e-4a8b-9f0e-0a7b0c1d2e3f");
    }

    #[test]
    fn secrets_are_sealed_once_and_open_again() {
        let format = Format {
            uuid: "u".into(),
            secret_key: Secret::new("s3cr3t"),
            ..Format::default()
        };
        let sealed = format.sealed(|| [1; 12]).unwrap();
        assert!(sealed.key_encrypted && sealed.secret_key != format.secret_key);
        assert_eq!(sealed.opened().unwrap(), format);
        assert!(
            !Format::default().sealed(|| [1; 12]).unwrap().key_encrypted,
            "nothing to seal, nothing sealed"
        );
    }

    #[test]
    fn what_this_build_cannot_read_is_refused() {
        let newer = Format {
            meta_version: 2,
            ..Format::default()
        };
        assert_eq!(newer.check(), Err(FormatError::MetaVersion(2)));
        let tiers = Format {
            min_client_version: "1.4.0-A".into(),
            ..Format::default()
        };
        assert_eq!(
            tiers.check(),
            Err(FormatError::MinClientVersion("1.4.0-A".into()))
        );
        assert_eq!(
            Format {
                block_size: 1,
                ..Format::default()
            }
            .check(),
            Err(FormatError::BlockSize(1))
        );
    }
}
