//! Labels and annotations of mount pods.
//!
//! A label's value has at most 63 characters of a small alphabet. A name that does
//! not fit is shortened and ends in a hash; the whole name then stands in the
//! annotation of the same key, so nothing is lost and names never collide unseen.

use std::{collections::BTreeMap, fmt::Write};

use aws_lc_rs::digest::{SHA256, digest};

/// The volume's id (the CSI volume handle).
pub const VOLUME: &str = "carafe.io/volume";
/// The PersistentVolumeClaim's name.
pub const CLAIM: &str = "carafe.io/persistentvolumeclaim";
/// The claim's namespace.
pub const NAMESPACE: &str = "carafe.io/namespace";
/// The node that the pod serves.
pub const NODE: &str = "carafe.io/node";
/// Marks a pod as ours.
pub const NAME: &str = "app.kubernetes.io/name";
/// The value of [`NAME`] on a mount pod.
pub const MOUNT_POD: &str = "carafe-mount";
/// Annotation: where the volume is staged on the node.
pub const STAGING_PATH: &str = "carafe.io/staging-path";

const MAX: usize = 63;
const HASH: usize = 10;

/// The label value for `name`, and whether it is `name` itself.
pub fn label_value(name: &str) -> (String, bool) {
    if is_label_value(name) {
        return (name.to_owned(), true);
    }
    (shortened(name, MAX), false)
}

/// Adds the label `key`, and the annotation of the same key where the label could
/// not hold the whole name.
pub fn put(
    labels: &mut BTreeMap<String, String>,
    annotations: &mut BTreeMap<String, String>,
    key: &str,
    name: &str,
) {
    let (value, whole) = label_value(name);
    if !whole {
        annotations.insert(key.to_owned(), name.to_owned());
    }
    labels.insert(key.to_owned(), value);
}

/// What [`put`] stored under `key`.
pub fn get<'a>(
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    key: &str,
) -> Option<&'a str> {
    annotations
        .get(key)
        .or_else(|| labels.get(key))
        .map(String::as_str)
}

/// The first `len` hexadecimal digits of the text's SHA-256.
pub fn short_hash(text: &str, len: usize) -> String {
    let mut hex = String::with_capacity(64);
    for byte in digest(&SHA256, text.as_bytes()).as_ref() {
        let _ = write!(hex, "{byte:02x}");
    }
    hex.truncate(len);
    hex
}

/// `name` in lower case, with only letters, digits and dashes: a part of a name of
/// a Kubernetes object, at most `max` long.
pub fn name_part(name: &str, max: usize) -> String {
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let cleaned: String = name.chars().map(clean).take(max).collect();
    cleaned.trim_matches('-').to_owned()
}

fn is_label_value(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    bytes.len() <= MAX
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| inner(*byte))
}

fn shortened(name: &str, max: usize) -> String {
    let readable = name_part(name, max - HASH - 1);
    let hash = short_hash(name, HASH);
    if readable.is_empty() {
        hash
    } else {
        format!("{readable}-{hash}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fitting_name_is_its_own_label() {
        assert_eq!(label_value("pvc-1234"), ("pvc-1234".into(), true));
    }

    #[test]
    fn a_long_name_is_hashed_and_annotated() {
        let name = "n".repeat(80);
        let (mut labels, mut annotations) = (BTreeMap::new(), BTreeMap::new());
        put(&mut labels, &mut annotations, CLAIM, &name);
        assert!(labels[CLAIM].len() <= 63 && labels[CLAIM].starts_with("nnn"));
        assert_eq!(annotations[CLAIM], name);
        assert_eq!(get(&labels, &annotations, CLAIM), Some(name.as_str()));
    }

    proptest! {
        #[test]
        fn every_name_gets_a_valid_label(name in ".{0,100}") {
            let (value, whole) = label_value(&name);
            prop_assert!(is_label_value(&value), "{value:?}");
            prop_assert_eq!(whole, value == name);
        }

        #[test]
        fn different_names_get_different_labels(one in "[a-z/]{60,90}", two in "[a-z/]{60,90}") {
            prop_assert_eq!(one == two, label_value(&one) == label_value(&two));
        }
    }
}
