//! What another life of the plugin has left: mount pods that serve on, and give back
//! what they hold.

use std::path::PathBuf;

use carafe_api::{
    handover::{Listener, MOUNT_POD_USER},
    labels,
};
use k8s_openapi::api::core::v1::Pod;

use super::{
    caches,
    departures::has_ended,
    pods::{PodsError, reference, volume_of},
    stage::Stager,
};
use crate::keeper::Kept;

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
    pub(super) fn staging_of(&self, pod: &Pod) -> Option<PathBuf> {
        let notes = pod.metadata.annotations.as_ref()?;
        let staging = PathBuf::from(notes.get(labels::STAGING_PATH)?);
        let kubelet_dir = self.config.kubelet_dir.canonicalize().ok()?;
        let is_ours = staging.starts_with(&kubelet_dir) && !staging.iter().any(|part| part == "..");
        is_ours.then_some(staging)
    }
}
