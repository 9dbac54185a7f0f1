//! Where `make tools` put the programs.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    std::env::var_os("CARAFE_CACHE").map_or_else(|| home().join(".cache/carafe"), PathBuf::from)
}

/// The newest program `name` that the tools step built; panics if there is none.
pub fn tool(name: &str) -> PathBuf {
    find(name, name).unwrap_or_else(|| panic!("{name} is not built: run `make tools`"))
}

/// The peer, `juicefs` 1.3: `CARAFE_JUICEFS` or the one that was built.
pub fn juicefs() -> PathBuf {
    juicefs_version("juicefs")
}

/// Kubernetes's conformance test for CSI drivers, which is built with the sidecars.
pub fn csi_sanity() -> PathBuf {
    find("sidecars", "csi-sanity")
        .unwrap_or_else(|| panic!("csi-sanity is not built: run `make tools`"))
}

/// The peer of another version, by the name of its module in `e2e/tools`.
pub fn juicefs_version(module: &str) -> PathBuf {
    if module == "juicefs"
        && let Some(path) = std::env::var_os("CARAFE_JUICEFS")
    {
        return path.into();
    }
    find(module, "juicefs").unwrap_or_else(|| panic!("{module} is not built: run `make tools`"))
}

/// The newest of `<cache>/bin/<module>-<key>/<program>`.
fn find(module: &str, program: &str) -> Option<PathBuf> {
    let directories = std::fs::read_dir(cache().join("bin")).ok()?;
    let is_ours = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let key = name.strip_prefix(module)?.strip_prefix('-')?;
        (!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| path.join(program))
    };
    let programs = directories
        .flatten()
        .filter_map(|entry| is_ours(&entry.path()))
        .filter(|program| program.is_file());
    programs.max_by_key(|program| {
        program
            .metadata()
            .and_then(|meta| meta.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    })
}
