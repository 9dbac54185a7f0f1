//! Unstaging: a mount whose last pod on the node has gone. What its client holds is
//! committed before anything is taken away.

use std::{path::Path, time::Duration};

use super::{
    error::UnstageError,
    pods::{PodsError, reference, volume_of},
    stage::{NOT_BACK, RECONNECT_PATIENCE, Stager},
    staging::{is_mounted, unmount, unmount_lazily},
};
use crate::{
    keeper::Kept,
    lock::{KERNEL_PATIENCE, Turn},
    mount,
};

/// How long a client may take for the kernel's last pages after the unmount.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// How many seconds a mount pod has to exit once its mount is gone.
const POD_GRACE: u32 = 30;

impl Stager {
    /// Commits what the volume's client holds, unmounts, and takes the mount pod away.
    pub async fn unstage(
        &self,
        volume: &str,
        staging: &Path,
        turn: &Turn,
    ) -> Result<(), UnstageError> {
        let unmount_failed = |source| UnstageError::Unmount {
            volume: volume.to_owned(),
            source,
        };
        let look_failed = |source| UnstageError::Look {
            volume: volume.to_owned(),
            source,
        };
        let path = staging.to_owned();
        let staging = turn
            .aside(KERNEL_PATIENCE, move || mount::absolute(&path))
            .await;
        let staging = staging.map_err(look_failed)?;
        let mounted = is_mounted(&staging, turn).await.map_err(look_failed)?;
        match self.known(volume, mounted).await? {
            None => self.clear_pods(volume, turn).await?,
            Some(kept) if mounted && self.may_hold_data(&kept).await? => {
                self.release(&kept).await?;
                unmount(&staging, END_PATIENCE, turn)
                    .await
                    .map_err(unmount_failed)?;
                self.end(&kept, turn).await?;
            }
            Some(kept) if mounted => self.discard(&kept, turn).await?,
            // An earlier call came this far.
            Some(kept) => self.end(&kept, turn).await?,
        }
        // Nobody serves what is still there: another life's, or a copy.
        unmount_lazily(&staging, turn).await.map_err(unmount_failed)
    }

    /// Whether the mount's client may have what is not written back, and is there to
    /// do so.
    async fn may_hold_data(&self, kept: &Kept) -> Result<bool, UnstageError> {
        let volume = kept.volume();
        if !kept.wait_held(RECONNECT_PATIENCE).await {
            if self.may_still_come(kept).await? {
                return Err(UnstageError::NotReleased {
                    volume: volume.to_owned(),
                    pod: kept.pod().to_owned(),
                    reason: NOT_BACK.to_owned(),
                });
            }
            tracing::warn!(
                volume,
                "the mount's connection was lost before its last write-back"
            );
            return Ok(false);
        }
        if !kept.was_served() {
            return Ok(false);
        }
        if self.pods.find(kept.pod()).await?.is_none() && !kept.is_connected() {
            tracing::warn!(
                volume,
                "the mount pod was deleted before its last write-back"
            );
            return Ok(false);
        }
        Ok(true)
    }

    async fn release(&self, kept: &Kept) -> Result<(), UnstageError> {
        let released = kept.release(self.config.release_timeout).await;
        released.map_err(|error| UnstageError::not_released(kept.volume(), kept.pod(), &error))
    }

    /// The volume is unmounted: its client commits what came last, and its pod ends.
    async fn end(&self, kept: &Kept, turn: &Turn) -> Result<(), PodsError> {
        let pod = self.pods.find(kept.pod()).await?;
        if let Some(pod) = &pod {
            self.pods.delete(pod, POD_GRACE).await?;
        }
        if !kept.end(END_PATIENCE).await {
            let volume = kept.volume();
            tracing::warn!(volume, "the mount pod did not end in time");
        }
        self.keeper.remove(kept.volume());
        self.remove_caches(kept.pod(), turn).await;
        if let Some(pod) = &pod {
            let _ = tokio::time::timeout(END_PATIENCE, self.pods.wait_gone(pod)).await;
        }
        Ok(())
    }

    /// Deletes mount pods of a volume that is not kept.
    async fn clear_pods(&self, volume: &str, turn: &Turn) -> Result<(), PodsError> {
        let pods = self.pods.list().await?;
        for pod in pods.iter().filter(|pod| volume_of(pod) == Some(volume)) {
            let pod = reference(pod);
            self.pods.delete(&pod, 0).await?;
            self.remove_caches(&pod.name, turn).await;
        }
        Ok(())
    }
}
