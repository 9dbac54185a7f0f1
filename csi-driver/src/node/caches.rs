//! The volumes' cache directories on this node: one for each volume, below each
//! directory that its options name, called like its mount pod.

use std::path::{Path, PathBuf};

use carafe_api::CacheOptions;

use super::error::StageError;
use crate::lock::{KERNEL_PATIENCE, Turn};

/// What a directory is called that is being removed.
const RETIRED: &str = ".retired";

/// Where a volume caches; nowhere if in memory only.
pub(super) fn paths(
    cache: &CacheOptions,
    allowed: &[PathBuf],
    name: &str,
) -> Result<Vec<PathBuf>, StageError> {
    if cache.memory_only() {
        return Ok(Vec::new());
    }
    let wanted: Vec<PathBuf> = match cache.dirs.as_slice() {
        [] => allowed.iter().take(1).cloned().collect(),
        dirs => dirs.iter().map(PathBuf::from).collect(),
    };
    if let Some(other) = wanted.iter().find(|dir| !allowed.contains(dir)) {
        let allowed: Vec<_> = allowed
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
        return Err(StageError::CacheDir {
            wanted: other.display().to_string(),
            allowed: allowed.join(", "),
        });
    }
    Ok(wanted.iter().map(|dir| dir.join(name)).collect())
}

/// Removes the caches of `name`. They go out of the way at once, so that the volume's
/// next stage has directories of its own; the files, which can be many, go later.
pub(super) async fn retire(dirs: &[PathBuf], name: &str, turn: &Turn) {
    let caches: Vec<PathBuf> = dirs.iter().map(|dir| dir.join(name)).collect();
    let retiring = turn.aside(KERNEL_PATIENCE, move || {
        Ok(caches
            .iter()
            .filter_map(|path| set_aside(path))
            .collect::<Vec<_>>())
    });
    match retiring.await {
        Ok(retired) => remove(retired),
        Err(error) => tracing::warn!(%error, name, "a cache directory is left"),
    }
}

/// Removes what another life of the plugin did not come to remove.
pub(super) fn remove_retired(dirs: &[PathBuf]) {
    let dirs = dirs.to_vec();
    tokio::task::spawn_blocking(move || {
        let entries = dirs.iter().filter_map(|dir| dir.read_dir().ok()).flatten();
        let retired = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with(RETIRED));
        remove_all(&retired.collect::<Vec<_>>());
    });
}

fn set_aside(path: &Path) -> Option<PathBuf> {
    let unique = uuid::Uuid::new_v4().simple();
    let retired = path.with_file_name(format!("{unique}{RETIRED}"));
    match std::fs::rename(path, &retired) {
        Ok(()) => Some(retired),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "a cache directory is left");
            None
        }
    }
}

fn remove(paths: Vec<PathBuf>) {
    if !paths.is_empty() {
        tokio::task::spawn_blocking(move || remove_all(&paths));
    }
}

fn remove_all(paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::warn!(%error, path = %path.display(), "a cache directory is left");
        }
    }
}
