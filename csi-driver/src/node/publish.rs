//! Publishing: the staged mount, seen at a pod's target. All of it may block: its
//! callers run it on a thread of its own.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::mount::{self, FUSE_TYPE, MountTable};

/// A pod's view of a volume.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) staging: PathBuf,
    pub(super) target: PathBuf,
    pub(super) read_only: bool,
    /// No other pod may have the volume.
    pub(super) for_one_pod: bool,
}

/// What is there of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// A volume is mounted at the staging path.
    pub(super) staged: bool,
    /// Something is mounted at the target.
    pub(super) published: bool,
    /// What is mounted at the target is not what is staged: a connection was lost, and
    /// the volume mounted anew.
    pub(super) stale: bool,
    /// The volume is published somewhere else, too.
    pub(super) elsewhere: bool,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Published,
    NotStaged,
    InUse,
}

/// Whether something is mounted at `target`.
pub(super) fn is_published(target: &Path) -> io::Result<bool> {
    let target = mount::absolute(target)?;
    Ok(MountTable::read()?.at(&target).is_some())
}

impl Publication {
    /// Looks at the mount table only.
    pub(super) fn look(&self) -> io::Result<Seen> {
        let (staging, target) = (
            mount::absolute(&self.staging)?,
            mount::absolute(&self.target)?,
        );
        let table = MountTable::read()?;
        let staged = table
            .at(&staging)
            .filter(|entry| entry.fs_type == FUSE_TYPE);
        let published = table.at(&target);
        // Kubelet's binds for subPath belong to a pod that has it already.
        let is_other = |path: &Path| {
            let is_sub_path = path.iter().any(|part| part == "volume-subpaths");
            path != staging && path != target && !is_sub_path
        };
        Ok(Seen {
            staged: staged.is_some(),
            published: published.is_some(),
            stale: staged
                .zip(published)
                .is_some_and(|(staged, published)| staged.minor != published.minor),
            elsewhere: staged.is_some_and(|staged| {
                table
                    .of_type(FUSE_TYPE)
                    .any(|entry| entry.minor == staged.minor && is_other(&entry.target))
            }),
        })
    }

    /// Shows the volume at the target, which is made if it is not there.
    pub(super) fn publish(&self) -> io::Result<Outcome> {
        let seen = self.look()?;
        if seen.published && !seen.stale {
            return Ok(Outcome::Published);
        }
        // A bind of what is only a directory would take writes to the node's disk.
        if !seen.staged {
            return Ok(Outcome::NotStaged);
        }
        if self.for_one_pod && seen.elsewhere {
            return Ok(Outcome::InUse);
        }
        let (staging, target) = (
            mount::absolute(&self.staging)?,
            mount::absolute(&self.target)?,
        );
        if seen.stale {
            mount::unmount_lazily(&target)?;
        }
        let made = mount::make_directory(&target)?;
        if let Err(error) = mount::bind(&staging, &target, self.read_only) {
            if made {
                let _ = mount::remove_directory(&target);
            }
            return Err(error);
        }
        Ok(Outcome::Published)
    }
}

/// Takes the target away, with whatever is mounted there. The volume stays mounted
/// at its staging path, so this never waits for its client.
pub(super) fn unpublish(target: &Path) -> io::Result<()> {
    let target = mount::absolute(target)?;
    mount::unmount_lazily(&target)?;
    mount::remove_directory(&target)
}
