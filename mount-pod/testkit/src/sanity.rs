//! What csi-sanity, Kubernetes's conformance test for CSI drivers, is given.

use std::fmt::Write as _;

/// The calls that a Secret can come with.
const CALLS: [&str; 11] = [
    "CreateVolumeSecret",
    "DeleteVolumeSecret",
    "ControllerPublishVolumeSecret",
    "ControllerUnpublishVolumeSecret",
    "ControllerValidateVolumeCapabilitiesSecret",
    "NodeStageVolumeSecret",
    "NodePublishVolumeSecret",
    "ControllerExpandVolumeSecret",
    "CreateSnapshotSecret",
    "DeleteSnapshotSecret",
    "ListSnapshotsSecret",
];

/// The file for `--csi.secrets`: every call has a Secret with these fields.
pub fn csi_sanity_secrets(fields: &[(&str, &str)]) -> String {
    let mut yaml = String::new();
    for call in CALLS {
        let _ = writeln!(yaml, "{call}:");
        for (name, value) in fields {
            let _ = writeln!(yaml, "  {name}: {value}");
        }
    }
    yaml
}
