//! Attributes of a volume, which the controller writes and the node plugin reads, and
//! where both find its directory.

/// The claim's namespace.
pub const CLAIM_NAMESPACE: &str = "carafe.io/namespace";
/// The claim's name.
pub const CLAIM_NAME: &str = "carafe.io/persistentvolumeclaim";
/// The sub-directory to mount (JuiceFS's name).
pub const SUB_PATH: &str = "subPath";
/// Mount options, with commas between them (JuiceFS's name).
pub const MOUNT_OPTIONS: &str = "mountOptions";

/// A path in a file system without empty parts and `.`; the error is a path that leaves
/// it by `..`.
pub(crate) fn clean(path: &str) -> Result<String, String> {
    let parts = path.split('/');
    let parts: Vec<&str> = parts
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(path.to_owned());
    }
    Ok(parts.join("/"))
}

/// A volume's directory: below the one that the option `subdir` chooses. The controller
/// makes it here, and the node plugin mounts it.
pub(crate) fn join(subdir: &str, path: &str) -> String {
    match (subdir, path) {
        ("", alone) | (alone, "") => alone.to_owned(),
        (subdir, path) => format!("{subdir}/{path}"),
    }
}
