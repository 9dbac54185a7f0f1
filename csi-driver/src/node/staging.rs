//! What lies at a volume's staging path. Kubelet gives each volume one, below its
//! directory for the driver, with what it knows of the volume in a file beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    lock::{KERNEL_PATIENCE, Turn, aside},
    mount::{self, FUSE_TYPE, MountTable},
};

/// A volume's id and where it is staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staged {
    pub(super) volume: String,
    pub(super) staging: PathBuf,
}

/// Whether a client's mount is there.
pub(super) async fn is_mounted(staging: &Path, turn: &Turn) -> io::Result<bool> {
    let staging = staging.to_owned();
    let look = move || {
        let table = MountTable::read()?;
        let entry = table.at(&staging);
        Ok(entry.is_some_and(|entry| entry.fs_type == FUSE_TYPE))
    };
    turn.aside(KERNEL_PATIENCE, look).await
}

/// umount(2) waits while the kernel writes back: out of sight if the client does not
/// take the pages within `patience`.
pub(super) async fn unmount(staging: &Path, patience: Duration, turn: &Turn) -> io::Result<()> {
    let path = staging.to_owned();
    match turn.aside(patience, move || mount::unmount(&path)).await {
        // Somebody has a file open who is no longer a pod of this volume, or the client
        // is slow.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ResourceBusy | io::ErrorKind::TimedOut
            ) =>
        {
            unmount_lazily(staging, turn).await
        }
        done => done,
    }
}

/// Takes everything away that is mounted there. Nothing there is fine.
pub(super) async fn unmount_lazily(staging: &Path, turn: &Turn) -> io::Result<()> {
    let path = staging.to_owned();
    turn.aside(KERNEL_PATIENCE, move || mount::unmount_lazily(&path))
        .await
}

/// As [`unmount_lazily`], where there is nobody to answer an error to.
pub(super) async fn unmount_or_warn(volume: &str, staging: &Path, turn: &Turn) {
    if let Err(error) = unmount_lazily(staging, turn).await {
        tracing::warn!(%error, volume, "cannot unmount");
    }
}

/// The volumes that are mounted at this driver's staging paths.
pub(super) async fn all(kubelet_dir: &Path, driver: &str) -> io::Result<Vec<Staged>> {
    let root = kubelet_dir.join("plugins/kubernetes.io/csi").join(driver);
    let look = move || {
        let root = root.canonicalize()?;
        let table = MountTable::read()?;
        let ours = table.of_type(FUSE_TYPE).filter(|entry| {
            entry.target.starts_with(&root) && entry.target.ends_with("globalmount")
        });
        Ok(ours.filter_map(|entry| staged_at(&entry.target)).collect())
    };
    match aside(KERNEL_PATIENCE, look).await {
        // Kubelet has staged nothing for this driver yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

/// Whose path it is. The file lies beside the mount: the mount itself is not touched.
fn staged_at(staging: &Path) -> Option<Staged> {
    let data = fs::read(staging.with_file_name("vol_data.json")).ok()?;
    let data: serde_json::Value = serde_json::from_slice(&data).ok()?;
    Some(Staged {
        volume: data["volumeHandle"].as_str()?.to_owned(),
        staging: staging.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelet_leaves_the_volumes_id_beside_its_mount() {
        let root = tempfile::tempdir().unwrap();
        let staging = root.path().join("globalmount");
        assert_eq!(staged_at(&staging), None, "no file");
        let data = r#"{"driverName":"csi.carafe.io","volumeHandle":"demo/a"}"#;
        fs::write(root.path().join("vol_data.json"), data).unwrap();
        let expected = Staged {
            volume: "demo/a".into(),
            staging: staging.clone(),
        };
        assert_eq!(staged_at(&staging), Some(expected));
        fs::write(root.path().join("vol_data.json"), "{").unwrap();
        assert_eq!(staged_at(&staging), None, "half a file");
    }

    #[tokio::test]
    async fn a_driver_without_volumes_has_nothing_staged() {
        let root = tempfile::tempdir().unwrap();
        let staged = all(root.path(), "csi.carafe.io").await.unwrap();
        assert_eq!(staged, []);
    }
}
