//! Mount arguments: what a client must know to serve one volume.

use serde::{Deserialize, Serialize};

use crate::MountOptions;

/// What to mount and how, without anything secret (that is the
/// [`VolumeSecret`](crate::VolumeSecret), which travels beside it).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountArguments {
    /// The volume's id: the CSI volume handle.
    pub volume: String,
    /// The file system's name as the Secret has it; empty if it does not say.
    pub file_system: String,
    /// The directory that becomes the mount's root, relative to the file system's;
    /// empty for the whole file system. It is made if it is not there, unless the
    /// mount is read-only.
    pub subdir: String,
    /// The options, parsed.
    pub options: MountOptions,
    /// Nothing may be changed through this mount.
    pub read_only: bool,
    /// Where the kernel has it mounted: for people and session records only, the
    /// client cannot see the path.
    pub mount_point: String,
    /// The machine: for session records.
    pub node: String,
    /// The claim's namespace, for metrics; empty if there is none.
    pub namespace: String,
    /// The claim's name, for metrics; empty if there is none.
    pub claim: String,
}
