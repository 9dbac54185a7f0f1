//! Attributes of a volume, which the controller writes and the node plugin reads.

/// The claim's namespace.
pub const CLAIM_NAMESPACE: &str = "carafe.io/namespace";
/// The claim's name.
pub const CLAIM_NAME: &str = "carafe.io/persistentvolumeclaim";
/// The sub-directory to mount (JuiceFS's name).
pub const SUB_PATH: &str = "subPath";
/// Mount options, with commas between them (JuiceFS's name).
pub const MOUNT_OPTIONS: &str = "mountOptions";
