//! Publishing: the staged mount, seen at a pod's target.

use std::{io, path::Path};

use super::error::{PublishError, UnpublishError};
use crate::mount::{self, FUSE_TYPE, MountTable};

/// Whether something is mounted at `target`, and if so, makes no further use of it.
pub(super) fn is_published(target: &Path) -> io::Result<bool> {
    let target = mount::absolute(target)?;
    Ok(MountTable::read()?.at(&target).is_some())
}

/// Whether a volume is mounted at `staging`.
pub(super) fn is_staged(staging: &Path) -> io::Result<bool> {
    let staging = mount::absolute(staging)?;
    Ok(MountTable::read()?
        .at(&staging)
        .is_some_and(|entry| entry.fs_type == FUSE_TYPE))
}

/// Whether the volume that is mounted at `staging` is also published somewhere else
/// than at `target`. Kubelet's binds for subPath belong to a pod that has it already.
pub(super) fn is_published_elsewhere(staging: &Path, target: &Path) -> io::Result<bool> {
    let (staging, target) = (mount::absolute(staging)?, mount::absolute(target)?);
    let table = MountTable::read()?;
    let Some(minor) = table.at(&staging).map(|entry| entry.minor) else {
        return Ok(false);
    };
    let is_other = |path: &Path| {
        let is_sub_path = path.iter().any(|part| part == "volume-subpaths");
        path != staging && path != target && !is_sub_path
    };
    let mut same = table
        .of_type(FUSE_TYPE)
        .filter(|entry| entry.minor == minor);
    Ok(same.any(|entry| is_other(&entry.target)))
}

/// Shows the volume at `target`, which is made if it is not there.
pub(super) fn publish(
    volume: &str,
    staging: &Path,
    target: &Path,
    read_only: bool,
) -> Result<(), PublishError> {
    let bound = || -> io::Result<()> {
        let (staging, target) = (mount::absolute(staging)?, mount::absolute(target)?);
        mount::make_directory(&target)?;
        mount::bind(&staging, &target, read_only)
    };
    bound().map_err(|source| PublishError::Target {
        volume: volume.to_owned(),
        source,
    })
}

/// Takes the target away, with whatever is mounted there. The volume stays mounted
/// at its staging path, so this never waits for its client.
pub(super) fn unpublish(volume: &str, target: &Path) -> Result<(), UnpublishError> {
    let removed = || -> io::Result<()> {
        let target = mount::absolute(target)?;
        mount::unmount_lazily(&target)?;
        mount::remove_directory(&target)
    };
    removed().map_err(|source| UnpublishError::Target {
        volume: volume.to_owned(),
        source,
    })
}
