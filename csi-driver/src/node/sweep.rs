//! What no call will ask for again: mount pods that serve nothing, and mounts that
//! nobody serves. A failed stage could not take them away, the plugin ended in the
//! middle of one, or kubelet has forgotten the volume, as after a restart of the node.

use k8s_openapi::api::core::v1::Pod;

use super::{
    caches,
    pods::{PodsError, is_running, reference, volume_of},
    stage::Stager,
    staging::{self, Staged, is_mounted, unmount_or_warn},
};
use crate::lock::Turn;

/// Something that may be left over: looked at again in its volume's turn.
#[derive(Debug)]
pub(super) enum Leftover {
    /// A mount that nobody keeps, and no pod could give back. Kubelet cannot even ask
    /// for a stage there: it looks at the path first, and that fails.
    Mount(Staged),
    /// A mount pod to which nobody has given a connection.
    Pod(Staged, Box<Pod>),
}

impl Leftover {
    /// Whose it is.
    pub(super) fn volume(&self) -> &str {
        match self {
            Self::Mount(staged) | Self::Pod(staged, _) => &staged.volume,
        }
    }
}

impl Stager {
    /// What may be left over on this node.
    pub(super) async fn leftovers(&self) -> Result<Vec<Leftover>, PodsError> {
        // Caches that were in use when it was tried before.
        caches::remove_retired(&self.config.cache_dirs);
        let pods = self.pods.list().await?;
        let mounts = staging::all(&self.config.kubelet_dir, &self.driver).await;
        let mounts = mounts.unwrap_or_else(|error| {
            tracing::warn!(%error, "the mounts cannot be looked at");
            Vec::new()
        });
        let pods = pods
            .into_iter()
            .filter_map(|pod| Some((self.staged_by(&pod)?, pod)))
            .collect();
        let mut left = leftovers(pods, mounts);
        left.retain(|left| match left {
            Leftover::Mount(staged) => self.keeper.get(&staged.volume).is_none(),
            Leftover::Pod(staged, _) => !self.is_held(&staged.volume),
        });
        Ok(left)
    }

    /// Takes it away, if it is still left over.
    pub(super) async fn clear(&self, left: &Leftover, turn: &Turn) -> Result<(), PodsError> {
        match left {
            Leftover::Mount(staged) => {
                self.clear_mount(staged, turn).await;
                Ok(())
            }
            Leftover::Pod(staged, pod) => self.clear_pod(staged, pod, turn).await,
        }
    }

    async fn clear_mount(&self, staged: &Staged, turn: &Turn) {
        let Staged { volume, staging } = staged;
        // A stage in between would have kept its mount.
        if self.keeper.get(volume).is_none() {
            tracing::info!(volume, "a mount that nobody serves: unmounting it");
            unmount_or_warn(volume, staging, turn).await;
        }
    }

    async fn clear_pod(&self, staged: &Staged, pod: &Pod, turn: &Turn) -> Result<(), PodsError> {
        let Staged { volume, staging } = staged;
        let kept = self.keeper.get(volume);
        if kept.as_ref().is_some_and(|kept| kept.is_held()) {
            return Ok(());
        }
        // Whoever runs and has not said that it holds nothing may still give it back.
        let is_dead = kept.is_some_and(|kept| kept.is_lost()) || !is_running(pod);
        let mounted = is_mounted(staging, turn).await.unwrap_or(true);
        if mounted && !is_dead {
            return Ok(());
        }
        let pod = reference(pod);
        let name = &pod.name;
        tracing::info!(
            volume,
            pod = name,
            mounted,
            "a mount pod serves nothing: deleting it"
        );
        if mounted {
            unmount_or_warn(volume, staging, turn).await;
        }
        self.keeper.remove(volume);
        self.pods.delete(&pod, 0).await?;
        self.remove_caches(&pod.name, turn).await;
        Ok(())
    }

    fn is_held(&self, volume: &str) -> bool {
        let kept = self.keeper.get(volume);
        kept.is_some_and(|kept| kept.is_held())
    }

    fn staged_by(&self, pod: &Pod) -> Option<Staged> {
        Some(Staged {
            volume: volume_of(pod)?.to_owned(),
            staging: self.staging_of(pod)?,
        })
    }
}

/// The pods, and those of the mounts that are no pod's. Mounts come first: a pod is
/// deleted only after its mount.
fn leftovers(pods: Vec<(Staged, Pod)>, mounts: Vec<Staged>) -> Vec<Leftover> {
    let is_a_pods = |mount: &Staged| pods.iter().any(|(pod, _)| pod.staging == mount.staging);
    let mut left: Vec<_> = mounts
        .into_iter()
        .filter(|mount| !is_a_pods(mount))
        .map(Leftover::Mount)
        .collect();
    left.extend(
        pods.into_iter()
            .map(|(staged, pod)| Leftover::Pod(staged, Box::new(pod))),
    );
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(volume: &str) -> Staged {
        Staged {
            volume: volume.into(),
            staging: format!("/staging/{volume}").into(),
        }
    }

    #[test]
    fn a_mount_is_left_over_if_no_pod_could_give_it_back() {
        let pods = vec![(staged("a"), Pod::default())];
        let left = leftovers(pods, vec![staged("a"), staged("b")]);
        let said: Vec<_> = left
            .iter()
            .map(|left| (left.volume(), matches!(left, Leftover::Mount(_))))
            .collect();
        assert_eq!(said, [("b", true), ("a", false)]);
    }
}
