//! What users and other versions write is refused or read, and never a panic.

use std::collections::BTreeMap;

use carafe_api::{
    MountOptions, VolumeSecret,
    handover::{FromKeeper, FromPod},
};

#[test]
fn mount_options() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = MountOptions::parse([String::from_utf8_lossy(bytes)]);
    });
}

#[test]
fn secrets() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let fields: BTreeMap<String, String> =
            ["name", "metaurl", "bucket", "envs", "format-options"]
                .map(|field| (field.to_owned(), text.to_string()))
                .into();
        if let Ok(secret) = VolumeSecret::from_fields(&fields) {
            let _ = secret.new_format().map(|format| format.check());
        }
    });
}

#[test]
fn handover_messages() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = serde_json::from_slice::<FromPod>(bytes);
        let _ = serde_json::from_slice::<FromKeeper>(bytes);
    });
}
