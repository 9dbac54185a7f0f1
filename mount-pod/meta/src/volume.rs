//! Volumes of claims: a directory with a quota and a record of who owns it.
//!
//! Records live in the extension namespace (Redis keys under `Z:`, key-value
//! keys under `Z`, SQL tables `carafe_*`), which a real `juicefs` ignores.

use carafe_types::{Error, Ino};
use serde::{Deserialize, Serialize};

/// What [`Meta::create_volume`](crate::Meta::create_volume) makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// The volume's id: the PersistentVolume's name.
    pub id: String,
    /// The directory under the root, relative, parents are made as needed.
    pub path: String,
    /// Its limit in bytes; 0 means none.
    pub capacity: u64,
    /// Its limit of inodes; 0 means none.
    pub inodes: u64,
    /// Whether another volume may have the same path.
    pub share: bool,
    /// The new directory's permission bits.
    pub mode: u16,
    /// Who asked, as `namespace/claim`; for people.
    pub owner: String,
}

/// A volume on record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// The volume's id.
    pub id: String,
    /// Its directory.
    pub path: String,
    /// The directory's inode.
    pub ino: Ino,
    /// Its limit in bytes.
    pub capacity: u64,
    /// Its limit of inodes.
    pub inodes: u64,
    /// Whether it may share its path.
    pub share: bool,
    /// `namespace/claim`.
    pub owner: String,
}

/// Why a volume could not be made, changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// The id exists with other arguments.
    #[error("volume {id} exists with {what}")]
    Different {
        /// The id.
        id: String,
        /// What differs, with both values.
        what: String,
    },
    /// Another volume has this path, or one above it or in it.
    #[error(
        "the path {path:?} meets {taken:?}, which belongs to volume {id} of {owner}: make pathPattern unique, or set the parameter share: \"true\""
    )]
    PathTaken {
        /// The path.
        path: String,
        /// The volume that has it.
        id: String,
        /// Its claim.
        owner: String,
        /// Its path.
        taken: String,
    },
    /// The path leaves the volume or holds what no path may.
    #[error(
        "the path {0:?} is not allowed: it must be relative, without `..`, empty parts, reserved names or parts over 255 bytes"
    )]
    BadPath(String),
    /// There is no such volume.
    #[error("there is no volume {0}")]
    NotFound(String),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
}
