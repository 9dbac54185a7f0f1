//! What another life of the plugin, or a call that was cut, has left: mount pods that
//! give back what they hold, and mount pods that serve nothing.

use std::path::{Path, PathBuf};

use carafe_api::{
    handover::{Listener, MOUNT_POD_USER},
    labels,
};
use k8s_openapi::api::core::v1::Pod;

use super::{
    caches,
    pods::{PodsError, has_ended, is_running, reference, volume_of},
    stage::{Stager, is_mounted, unmount_lazily},
};
use crate::{
    keeper::Kept,
    lock::{KERNEL_PATIENCE, Turn, aside},
    mount::{FUSE_TYPE, MountTable},
};

impl Stager {
    /// Listens for the mount pods that another life of this plugin made, so that they
    /// give back what they hold.
    pub async fn recover(&self) -> Result<usize, PodsError> {
        let pods = self.pods.list().await?;
        caches::remove_retired(&self.config.cache_dirs);
        Ok(pods.iter().filter(|pod| self.listen_for(pod)).count())
    }

    /// Whether the pod can give something back, and is listened for.
    pub(super) fn listen_for(&self, pod: &Pod) -> bool {
        self.recover_pod(pod).unwrap_or_else(|reason| {
            let pod = reference(pod).name;
            tracing::warn!(pod, reason, "a mount pod cannot be reached");
            false
        })
    }

    fn recover_pod(&self, pod: &Pod) -> Result<bool, String> {
        let pod_ref = reference(pod);
        let (Some(volume), Some(staging)) = (volume_of(pod), self.staging_of(pod)) else {
            return Ok(false);
        };
        let dir = self.socket_dir(&pod_ref);
        // The directory of a pod that has ended stays until the pod is deleted.
        if has_ended(pod) || !dir.is_dir() {
            return Ok(false);
        }
        let listener = Listener::bind(&dir, MOUNT_POD_USER).map_err(|error| error.to_string())?;
        let kept = Kept::empty(volume.to_owned(), staging, pod_ref.name);
        kept.serve(listener, pod_ref.uid);
        self.keeper.insert(kept);
        Ok(true)
    }

    /// Where the pod's volume is staged, if it can be true: the path comes from the
    /// cluster and is unmounted one day.
    fn staging_of(&self, pod: &Pod) -> Option<PathBuf> {
        let notes = pod.metadata.annotations.as_ref()?;
        let staging = PathBuf::from(notes.get(labels::STAGING_PATH)?);
        let kubelet_dir = self.config.kubelet_dir.canonicalize().ok()?;
        let is_ours = staging.starts_with(&kubelet_dir) && !staging.iter().any(|part| part == "..");
        is_ours.then_some(staging)
    }

    /// The mount pods that may serve nothing, with their volumes.
    pub(super) async fn idle_pods(&self) -> Result<Vec<(String, Pod)>, PodsError> {
        let pods = self.pods.list().await?.into_iter();
        Ok(pods
            .filter_map(|pod| Some((volume_of(&pod)?.to_owned(), pod)))
            .filter(|(volume, _)| !self.keeper.get(volume).is_some_and(|kept| kept.is_held()))
            .collect())
    }

    /// Deletes a mount pod that serves nothing: nobody has given it a connection, and its
    /// mount, if there is one, is dead. A failed stage could not delete it, the plugin
    /// ended in the middle of one, or kubelet has forgotten its volume, as after a restart
    /// of the node.
    pub(super) async fn sweep(
        &self,
        volume: &str,
        pod: &Pod,
        turn: &Turn,
    ) -> Result<(), PodsError> {
        let Some(staging) = self.staging_of(pod) else {
            return Ok(());
        };
        let kept = self.keeper.get(volume);
        if kept.as_ref().is_some_and(|kept| kept.is_held()) {
            return Ok(());
        }
        // Whoever runs and has not said that it holds nothing may still give it back.
        let is_dead = kept.is_some_and(|kept| kept.is_lost()) || !is_running(pod);
        let mounted = is_mounted(&staging, turn).await.unwrap_or(true);
        if mounted && !is_dead {
            return Ok(());
        }
        let pod = reference(pod);
        tracing::info!(
            volume,
            pod = pod.name,
            mounted,
            "a mount pod serves nothing: deleting it"
        );
        if mounted && let Err(error) = unmount_lazily(&staging, turn).await {
            tracing::warn!(%error, volume, "cannot unmount");
        }
        self.keeper.remove(volume);
        self.pods.delete(&pod, 0).await?;
        self.remove_caches(&pod.name, turn).await;
        Ok(())
    }

    /// Volumes that are mounted at a staging path, kept by nobody, and without a pod that
    /// could give them back. Kubelet cannot even ask for a stage there: it looks at the
    /// path first, and that fails.
    pub(super) async fn dead_mounts(&self) -> Result<Vec<(String, PathBuf)>, PodsError> {
        let pods = self.pods.list().await?;
        let of_pods: Vec<_> = pods.iter().filter_map(|pod| self.staging_of(pod)).collect();
        let (kubelet_dir, driver) = (self.config.kubelet_dir.clone(), self.driver.clone());
        let staged = aside(KERNEL_PATIENCE, move || staged(&kubelet_dir, &driver)).await;
        let staged = staged.unwrap_or_else(|error| {
            tracing::warn!(%error, "the mounts cannot be looked at");
            Vec::new()
        });
        let is_dead = |(volume, staging): &(String, PathBuf)| {
            self.keeper.get(volume).is_none() && !of_pods.contains(staging)
        };
        Ok(staged.into_iter().filter(is_dead).collect())
    }

    /// Takes such a mount away, if it is still one.
    pub(super) async fn clear_dead_mount(
        &self,
        volume: &str,
        staging: &Path,
        turn: &Turn,
    ) -> Result<(), PodsError> {
        let dead = self.dead_mounts().await?;
        if dead
            .iter()
            .any(|(other, path)| other == volume && path == staging)
        {
            tracing::info!(volume, "a mount that nobody serves: unmounting it");
            if let Err(error) = unmount_lazily(staging, turn).await {
                tracing::warn!(%error, volume, "cannot unmount");
            }
        }
        Ok(())
    }

    /// Removes the caches that were in use when it was tried before.
    pub(super) fn remove_retired_caches(&self) {
        caches::remove_retired(&self.config.cache_dirs);
    }
}

/// What is mounted at this driver's staging paths, with the volumes' ids: kubelet leaves
/// them in a file beside the mount.
fn staged(kubelet_dir: &Path, driver: &str) -> std::io::Result<Vec<(String, PathBuf)>> {
    let root = kubelet_dir
        .canonicalize()?
        .join("plugins/kubernetes.io/csi");
    let root = root.join(driver);
    let table = MountTable::read()?;
    let ours = table
        .of_type(FUSE_TYPE)
        .filter(|entry| entry.target.starts_with(&root) && entry.target.ends_with("globalmount"));
    Ok(ours
        .filter_map(|entry| {
            let data = entry.target.with_file_name("vol_data.json");
            let data: serde_json::Value =
                serde_json::from_slice(&std::fs::read(data).ok()?).ok()?;
            let volume = data["volumeHandle"].as_str()?;
            Some((volume.to_owned(), entry.target.clone()))
        })
        .collect())
}
