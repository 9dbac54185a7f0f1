//! What a volume of this driver can be.

use crate::proto::csi::{
    VolumeCapability,
    volume_capability::{AccessMode, AccessType, access_mode::Mode},
};

/// Checks capabilities as every call must; says why not.
pub fn check<'a>(
    capabilities: impl IntoIterator<Item = &'a VolumeCapability>,
) -> Result<(), &'static str> {
    capabilities.into_iter().try_for_each(check_one)
}

fn check_one(capability: &VolumeCapability) -> Result<(), &'static str> {
    match &capability.access_type {
        Some(AccessType::Mount(_)) => {}
        Some(AccessType::Block(_)) => {
            return Err(
                "volumeMode Block is not possible: a volume is a file system, use volumeMode Filesystem",
            );
        }
        None => return Err("the volume capability has no access type"),
    }
    match capability.access_mode.as_ref().map(AccessMode::mode) {
        None | Some(Mode::Unknown) => Err("the volume capability has no access mode"),
        Some(
            Mode::SingleNodeWriter
            | Mode::SingleNodeReaderOnly
            | Mode::MultiNodeReaderOnly
            | Mode::MultiNodeSingleWriter
            | Mode::MultiNodeMultiWriter
            | Mode::SingleNodeSingleWriter
            | Mode::SingleNodeMultiWriter,
        ) => Ok(()),
    }
}

/// Whether the access mode allows reading only.
pub fn is_read_only(capability: &VolumeCapability) -> bool {
    let mode = capability.access_mode.as_ref().map(AccessMode::mode);
    matches!(
        mode,
        Some(Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly)
    )
}

/// The mount options that come with a capability.
pub fn mount_flags(capability: &VolumeCapability) -> Vec<String> {
    match &capability.access_type {
        Some(AccessType::Mount(mount)) => mount.mount_flags.clone(),
        Some(AccessType::Block(_)) | None => Vec::new(),
    }
}

/// Whether only one pod may use the volume.
pub fn is_for_one_pod(capability: &VolumeCapability) -> bool {
    let mode = capability.access_mode.as_ref().map(AccessMode::mode);
    mode == Some(Mode::SingleNodeSingleWriter)
}
