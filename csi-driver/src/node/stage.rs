//! Staging: from a request to a mount that a pod serves.
//!
//! Each call may end at any await, because kubelet hangs up or the plugin is stopped.
//! What it leaves then is found by the next call, by the plugin's next life, or by the
//! sweep ([`super::sweep`]): a mount without a keeper is dead and taken away, a pod that
//! this call has not made is replaced.

use std::{
    collections::BTreeMap,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use carafe_api::{
    VolumeSecret,
    handover::{Bundle, Listener, MOUNT_POD_USER},
};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, timeout_at};

use super::{
    caches,
    claims::Claims,
    directory,
    error::StageError,
    plan::{MountPlan, NodeIdentity, SOCKET_VOLUME, VolumeRequest, plan},
    pods::{Ensured, PodRef, Pods, PodsError, is_running, volume_of},
    staging::{is_mounted, unmount_lazily, unmount_or_warn},
};
use crate::{
    config::NodeArgs,
    keeper::{Keeper, Kept, NotServed, Phase},
    lock::{KERNEL_PATIENCE, Turn},
    mount,
};

/// How long a pod may take to give its descriptors back after a restart of the plugin.
pub(super) const RECONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// What a running pod has not done that is waited for.
pub(super) const NOT_BACK: &str = "runs, and has not connected since the node plugin started";

/// The volumes that this node has mounted. Its callers have the volume's turn.
pub struct Stager {
    pub(super) config: NodeArgs,
    pub(super) driver: String,
    pub(super) node: NodeIdentity,
    pub(super) pods: Arc<dyn Pods>,
    pub(super) claims: Arc<dyn Claims>,
    pub(super) keeper: Keeper,
}

impl Stager {
    /// A stager that keeps nothing yet.
    pub fn new(
        config: NodeArgs,
        driver: String,
        node: NodeIdentity,
        pods: Arc<dyn Pods>,
        claims: Arc<dyn Claims>,
    ) -> Self {
        Self {
            config,
            driver,
            node,
            pods,
            claims,
            keeper: Keeper::default(),
        }
    }

    /// Mounts the volume at its staging path unless it is, passes on a changed
    /// secret, and waits until it is served.
    pub async fn stage(&self, mut request: VolumeRequest, turn: &Turn) -> Result<(), StageError> {
        let deadline = Instant::now() + self.config.stage_timeout;
        let staging = request.staging;
        request.staging = turn
            .aside(KERNEL_PATIENCE, move || mount::absolute(&staging))
            .await
            .map_err(io_error("find the staging path"))?;
        request.claim = self
            .claims
            .claim_of(&self.driver, &request.id, &request.context)
            .await;
        match self.live(&request.id, &request.staging, turn).await? {
            Some(kept) => self.stage_again(&kept, &request, deadline).await,
            None => self.stage_anew(request, turn, deadline).await,
        }
    }

    /// Tells the claim's owner why a pod does not get its volume.
    pub(super) async fn warn(&self, id: &str, context: &BTreeMap<String, String>, reason: &str) {
        if let Some(claim) = self.claims.claim_of(&self.driver, id, context).await {
            self.claims.warn(&claim, "MountFailed", reason).await;
        }
    }

    /// Whether a client is connected to the volume's mount. Nothing is said about one
    /// that hangs.
    pub(super) fn is_connected(&self, volume: &str) -> bool {
        self.keeper
            .get(volume)
            .is_some_and(|kept| kept.is_held() && kept.is_connected())
    }

    /// The volume's kept mount if it is whole. What is left of one that is not, is
    /// cleared away.
    async fn live(
        &self,
        volume: &str,
        staging: &Path,
        turn: &Turn,
    ) -> Result<Option<Arc<Kept>>, StageError> {
        let table = io_error("read the mount table");
        let mounted = is_mounted(staging, turn).await.map_err(table)?;
        if let Some(kept) = self.known(volume, mounted).await? {
            if kept.wait_held(RECONNECT_PATIENCE).await && mounted {
                return Ok(Some(kept));
            }
            if mounted && self.may_still_come(&kept).await? {
                return Err(StageError::NotYet {
                    volume: volume.to_owned(),
                    pod: kept.pod().to_owned(),
                    progress: NOT_BACK.to_owned(),
                });
            }
            tracing::warn!(
                volume,
                "the mount's connection was lost: it is mounted anew"
            );
            self.discard(&kept, turn).await?;
        }
        unmount_lazily(staging, turn)
            .await
            .map_err(io_error("remove a dead mount"))?;
        Ok(None)
    }

    /// Whether the mount's pod runs and has only not yet given back what it holds, as on
    /// a node that is short of time: applications still use the mount, which must not be
    /// taken from them. A pod that never will is for its administrator to delete.
    pub(super) async fn may_still_come(&self, kept: &Kept) -> Result<bool, PodsError> {
        if kept.is_held() || kept.is_lost() {
            return Ok(false);
        }
        let pods = self.pods.list().await?;
        Ok(pods
            .iter()
            .any(|pod| pod.metadata.name.as_deref() == Some(kept.pod()) && is_running(pod)))
    }

    /// The volume's kept mount; if there is none and yet something is mounted, the one
    /// that a pod may still give back.
    pub(super) async fn known(
        &self,
        volume: &str,
        mounted: bool,
    ) -> Result<Option<Arc<Kept>>, PodsError> {
        let kept = self.keeper.get(volume);
        if kept.is_some() || !mounted {
            return Ok(kept);
        }
        let pods = self.pods.list().await?;
        let mut ours = pods.iter().filter(|pod| volume_of(pod) == Some(volume));
        Ok(if ours.any(|pod| self.listen_for(pod)) {
            self.keeper.get(volume)
        } else {
            None
        })
    }

    /// The mount is there: makes sure of its pod, and waits until it serves.
    async fn stage_again(
        &self,
        kept: &Arc<Kept>,
        request: &VolumeRequest,
        deadline: Instant,
    ) -> Result<(), StageError> {
        kept.rotate(&request.secret);
        kept.keep_on();
        let mut plan = plan(request, &self.node, &self.config.mount_pod)?;
        plan.pod.metadata.name = Some(kept.pod().to_owned());
        if matches!(kept.phase(), Phase::Failed { .. })
            && let Some(failed) = self.pods.find(kept.pod()).await?
        {
            // What it was given may have changed; what it held, the keeper has.
            self.replace(&failed, kept.volume(), deadline).await?;
        }
        let pod = self
            .ensured(&plan.pod, kept.volume(), deadline)
            .await?
            .pod();
        if kept.served_pod().as_ref() == Some(&pod.uid) {
            return self.await_served(kept, &pod, deadline).await;
        }
        self.introduce(kept, &pod, deadline).await
    }

    async fn stage_anew(
        &self,
        request: VolumeRequest,
        turn: &Turn,
        deadline: Instant,
    ) -> Result<(), StageError> {
        let mut plan = plan(&request, &self.node, &self.config.mount_pod)?;
        self.tell_ignored(&request, &plan).await;
        let caches = self.cache_paths(&mut plan)?;
        let pod = self.fresh_pod(&plan, deadline).await?;
        let kept = match self.mount(plan, caches, &pod, turn).await {
            Ok(kept) => kept,
            Err(error) => {
                let _ = unmount_lazily(&request.staging, turn).await;
                self.delete_pod(&pod, 0).await;
                self.remove_caches(&pod.name, turn).await;
                return Err(error);
            }
        };
        self.keeper.insert(kept.clone());
        let served = self.introduce(&kept, &pod, deadline).await;
        if let Err(error) = &served
            && !matches!(error, StageError::NotYet { .. })
            && let Err(error) = self.discard(&kept, turn).await
        {
            tracing::warn!(%error, "a mount pod is left for the sweep");
        }
        served
    }

    /// An option that means nothing here may be one that its user relies on.
    async fn tell_ignored(&self, request: &VolumeRequest, plan: &MountPlan) {
        let ignored = &plan.arguments.options.ignored;
        if let Some(claim) = &request.claim
            && !ignored.is_empty()
        {
            let options = ignored.join(", ");
            let said = format!("mount options without effect here: {options}");
            self.claims.warn(claim, "MountOptionIgnored", &said).await;
        }
    }

    /// A pod that was made just now. One that is there already may still hold a
    /// connection of a mount that is gone, and would serve that.
    async fn fresh_pod(&self, plan: &MountPlan, deadline: Instant) -> Result<PodRef, StageError> {
        let volume = &plan.arguments.volume;
        loop {
            match self.ensured(&plan.pod, volume, deadline).await? {
                Ensured::Made(pod) => return Ok(pod),
                Ensured::Found(pod) => self.replace(&pod, volume, deadline).await?,
            }
        }
    }

    pub(super) async fn ensured(
        &self,
        pod: &Pod,
        volume: &str,
        deadline: Instant,
    ) -> Result<Ensured, StageError> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match timeout_at(deadline, self.pods.ensure(pod)).await {
            Ok(ensured) => Ok(ensured?),
            Err(_) => Err(still_going(volume, name)),
        }
    }

    /// Deletes a pod whose successor shall have its name.
    async fn replace(
        &self,
        pod: &PodRef,
        volume: &str,
        deadline: Instant,
    ) -> Result<(), StageError> {
        self.pods.delete(pod, 0).await?;
        match timeout_at(deadline, self.pods.wait_gone(pod)).await {
            Ok(gone) => Ok(gone?),
            Err(_) => Err(still_going(volume, &pod.name)),
        }
    }

    /// Mounts, and answers what is to be kept.
    async fn mount(
        &self,
        plan: MountPlan,
        caches: Vec<PathBuf>,
        pod: &PodRef,
        turn: &Turn,
    ) -> Result<Arc<Kept>, StageError> {
        let threads = match plan.arguments.options.io_threads {
            0 => self.config.mount_pod.io_threads,
            threads => threads,
        };
        let pod = pod.name.clone();
        let mounting = move || Ok(mount_and_keep(plan, &caches, pod, threads));
        let mounted = turn.aside(KERNEL_PATIENCE, mounting).await;
        mounted.map_err(io_error("mount the volume"))?
    }

    /// Opens the keeper's socket in the pod and waits until the pod serves.
    pub(super) async fn introduce(
        &self,
        kept: &Arc<Kept>,
        pod: &PodRef,
        deadline: Instant,
    ) -> Result<(), StageError> {
        let dir = self.socket_dir(pod);
        let not_yet = || StageError::NotYet {
            volume: kept.volume().to_owned(),
            pod: pod.name.clone(),
            progress: "has no directory on the node yet: kubelet has not admitted it".into(),
        };
        tokio::select! {
            made = directory::wait_for(&dir) => {
                made.map_err(|error| StageError::Socket(error.to_string()))?;
            }
            trouble = self.pods.trouble(pod) => return Err(StageError::Trouble(trouble)),
            () = tokio::time::sleep_until(deadline) => return Err(not_yet()),
        }
        let listener = Listener::bind(&dir, MOUNT_POD_USER)
            .map_err(|error| StageError::Socket(error.to_string()))?;
        kept.serve(listener, pod.uid.clone());
        self.await_served(kept, pod, deadline).await
    }

    async fn await_served(
        &self,
        kept: &Kept,
        pod: &PodRef,
        deadline: Instant,
    ) -> Result<(), StageError> {
        let patience = deadline.saturating_duration_since(Instant::now());
        let ready = tokio::select! {
            // What the client says tells more than what kubelet sees of it.
            biased;
            ready = kept.wait_ready(patience) => ready,
            trouble = self.pods.trouble(pod) => return Err(StageError::Trouble(trouble)),
        };
        ready.map_err(|error| match error {
            NotServed::Failed(reason) => StageError::NotServed {
                volume: kept.volume().to_owned(),
                reason,
            },
            NotServed::TimedOut(progress) => StageError::NotYet {
                volume: kept.volume().to_owned(),
                pod: kept.pod().to_owned(),
                progress: progress.to_owned(),
            },
        })
    }

    pub(super) fn socket_dir(&self, pod: &PodRef) -> PathBuf {
        directory::empty_dir(&self.config.kubelet_dir, &pod.uid, SOCKET_VOLUME)
    }

    /// Where this volume caches on this node. Puts the paths that the client sees into
    /// its arguments.
    fn cache_paths(&self, plan: &mut MountPlan) -> Result<Vec<PathBuf>, StageError> {
        let cache = &mut plan.arguments.options.cache;
        let paths = caches::paths(cache, &self.config.cache_dirs, &plan.name)?;
        cache.dirs = paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        Ok(paths)
    }

    /// Takes back a mount that was never served, or cannot be any more: what it holds
    /// is lost. An error means that its pod may be left.
    pub(super) async fn discard(&self, kept: &Kept, turn: &Turn) -> Result<(), PodsError> {
        unmount_or_warn(kept.volume(), kept.staging(), turn).await;
        self.keeper.remove(kept.volume());
        if let Some(pod) = self.pods.find(kept.pod()).await? {
            self.pods.delete(&pod, 0).await?;
        }
        self.remove_caches(kept.pod(), turn).await;
        Ok(())
    }

    async fn delete_pod(&self, pod: &PodRef, grace: u32) {
        if let Err(error) = self.pods.delete(pod, grace).await {
            tracing::warn!(%error, "a mount pod is left for the sweep");
        }
    }

    pub(super) async fn remove_caches(&self, pod: &str, turn: &Turn) {
        if !self.config.keep_cache && !pod.is_empty() {
            caches::retire(&self.config.cache_dirs, pod, turn).await;
        }
    }

    /// Passes a changed secret to the volume's client, if it is mounted.
    pub fn rotate(&self, volume: &str, secret: &VolumeSecret) {
        if let Some(kept) = self.keeper.get(volume)
            && kept.rotate(secret)
        {
            tracing::info!(volume, "passed the changed secret to the mount");
        }
    }

    /// The attributes as a sorted map: what plans are made from.
    pub(super) fn sorted(
        context: std::collections::HashMap<String, String>,
    ) -> BTreeMap<String, String> {
        context.into_iter().collect()
    }
}

/// Mounts, and answers what is to be kept. What can fail or hang comes before the
/// mount, which is taken back if something still fails.
fn mount_and_keep(
    plan: MountPlan,
    caches: &[PathBuf],
    pod: String,
    threads: u32,
) -> Result<Arc<Kept>, StageError> {
    let staging = PathBuf::from(&plan.arguments.mount_point);
    mount::make_directory(&staging).map_err(io_error("make the staging path"))?;
    let caches = caches
        .iter()
        .map(|path| mount::cache_directory(path, MOUNT_POD_USER))
        .collect::<Result<_, _>>()?;
    let device = mount::open_device()?;
    let source = format!("carafe:{}", plan.arguments.file_system);
    let arguments = &plan.arguments;
    let squashed = arguments.options.squashes();
    mount::mount_fuse(
        device.as_fd(),
        &source,
        &staging,
        arguments.read_only,
        squashed,
    )?;
    let clones = (1..threads.min(32))
        .map(|_| mount::clone_device(device.as_fd()))
        .collect::<Result<_, _>>()?;
    let bundle = Bundle {
        device: Some(device),
        clones,
        region: None,
        caches,
    };
    Ok(Kept::new(staging, pod, plan.arguments, plan.secret, bundle))
}

fn io_error(step: &'static str) -> impl FnOnce(std::io::Error) -> StageError {
    move |source| StageError::Io { step, source }
}

fn still_going(volume: &str, pod: &str) -> StageError {
    StageError::NotYet {
        volume: volume.to_owned(),
        pod: pod.to_owned(),
        progress: "cannot be made yet: one of its name is still going".into(),
    }
}
