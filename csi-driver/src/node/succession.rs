//! A mount whose pod is gone gets another one at once: a pod that was deleted by force,
//! or that the node has evicted. Kubelet would ask for the volume only at its next look,
//! up to a minute later, and applications wait as long.

use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::{
    NodeService, TURN_PATIENCE,
    error::StageError,
    plan::successor,
    pods::{reference, volume_of},
    stage::Stager,
};
use crate::{keeper::Kept, lock::Turn};

/// How many mounts get a pod at once.
const AT_ONCE: usize = 8;

impl NodeService {
    /// Gives each mount whose pod is gone another one, as long as the process lives.
    pub async fn replace_lost_pods(self) {
        let departures = self.stager.pods.departures();
        let replace = |former| self.replace_lost_pod(former);
        departures.for_each_concurrent(AT_ONCE, replace).await;
    }

    async fn replace_lost_pod(&self, former: Pod) {
        let Some(volume) = volume_of(&former) else {
            return;
        };
        if self.stager.kept_by(volume, &former).is_none() {
            return;
        }
        let replaced = match self.locks.turn(volume, TURN_PATIENCE).await {
            Ok(turn) => self.stager.replace_lost_pod(&former, volume, &turn).await,
            Err(busy) => Err(busy.into()),
        };
        if let Err(error) = replaced {
            tracing::warn!(volume, %error, "no other mount pod yet: kubelet will ask again");
        }
    }
}

impl Stager {
    /// The volume's mount, if it is whole and has no other pod than this one.
    fn kept_by(&self, volume: &str, pod: &Pod) -> Option<Arc<Kept>> {
        let kept = self.keeper.get(volume)?;
        (kept.is_held() && kept.served_pod() == pod.metadata.uid).then_some(kept)
    }

    async fn replace_lost_pod(
        &self,
        former: &Pod,
        volume: &str,
        _turn: &Turn,
    ) -> Result<(), StageError> {
        // Looked at again: another call may have been faster, or the volume has gone.
        let Some(kept) = self.kept_by(volume, former) else {
            return Ok(());
        };
        let name = reference(former).name;
        tracing::info!(volume, pod = name, "the mount pod is gone: making another");
        let deadline = Instant::now() + self.config.stage_timeout;
        let next = successor(former, &self.node, &self.config.mount_pod);
        let pod = self.ensured(&next, volume, deadline).await?.pod();
        self.introduce(&kept, &pod, deadline).await
    }
}
