//! Staging: from a request to a mount that a pod serves, and back to nothing.

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
    labels,
};
use k8s_openapi::api::core::v1::Pod;

use super::{
    claims::Claims,
    directory,
    error::{StageError, UnstageError},
    plan::{MountPlan, NodeIdentity, SOCKET_VOLUME, VolumeRequest, plan},
    pods::{PodRef, Pods, PodsError, reference, volume_of},
};
use crate::{
    config::NodeArgs,
    keeper::{Keeper, Kept, NotServed},
    mount::{self, FUSE_TYPE, MountTable},
};

/// How long a pod may take to give its descriptors back after a restart of the plugin.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take for the kernel's last pages after the unmount.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// How many seconds a mount pod has to exit once its mount is gone.
const POD_GRACE: u32 = 30;

/// The volumes that this node has mounted. Its callers hold the volume's lock.
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

    /// Listens for the mount pods that another life of this plugin made, so that they
    /// give back what they hold.
    pub async fn recover(&self) -> Result<usize, PodsError> {
        let pods = self.pods.list().await?;
        let mut found = 0;
        for pod in &pods {
            match self.recover_pod(pod) {
                Ok(true) => found += 1,
                Ok(false) => {}
                Err(reason) => tracing::warn!(
                    pod = reference(pod).name,
                    reason,
                    "a mount pod cannot be reached"
                ),
            }
        }
        Ok(found)
    }

    fn recover_pod(&self, pod: &Pod) -> Result<bool, String> {
        let pod_ref = reference(pod);
        let notes = pod.metadata.annotations.as_ref();
        let staging = notes
            .and_then(|notes| notes.get(labels::STAGING_PATH))
            .map(PathBuf::from);
        let (Some(volume), Some(staging)) = (volume_of(pod), staging) else {
            return Ok(false);
        };
        let dir = self.socket_dir(&pod_ref);
        if !dir.is_dir() {
            return Ok(false);
        }
        let listener = Listener::bind(&dir, MOUNT_POD_USER).map_err(|error| error.to_string())?;
        let kept = Kept::empty(volume.to_owned(), staging, pod_ref.name);
        kept.serve(listener, pod_ref.uid);
        self.keeper.insert(kept);
        Ok(true)
    }

    /// Mounts the volume at its staging path unless it is, passes on a changed
    /// secret, and waits until it is served.
    pub async fn stage(&self, mut request: VolumeRequest) -> Result<(), StageError> {
        request.staging =
            mount::absolute(&request.staging).map_err(io_error("find the staging path"))?;
        request.claim = self
            .claims
            .claim_of(&self.driver, &request.id, &request.context)
            .await;
        let claim = request.claim.clone();
        let staged = match self.live(&request.id, &request.staging).await? {
            Some(kept) => self.stage_again(&kept, &request).await,
            None => self.stage_anew(request).await,
        };
        if let (Err(error), Some(claim)) = (&staged, &claim) {
            self.claims
                .warn(claim, "MountFailed", &error.to_string())
                .await;
        }
        staged
    }

    /// The volume's kept mount if it is whole. What is left of one that is not, is
    /// cleared away.
    async fn live(&self, volume: &str, staging: &Path) -> Result<Option<Arc<Kept>>, StageError> {
        if let Some(kept) = self.keeper.get(volume) {
            let held = kept.wait_held(RECONNECT_PATIENCE).await;
            if held && is_mounted(staging)? {
                return Ok(Some(kept));
            }
            tracing::warn!(
                volume,
                "the mount's connection was lost: it is mounted anew"
            );
            self.discard(&kept).await;
        }
        if is_mounted(staging)? {
            mount::unmount_lazily(staging).map_err(io_error("remove a dead mount"))?;
        }
        Ok(None)
    }

    /// The mount is there: makes sure of its pod, and waits until it serves.
    async fn stage_again(
        &self,
        kept: &Arc<Kept>,
        request: &VolumeRequest,
    ) -> Result<(), StageError> {
        kept.rotate(&request.secret);
        let plan = plan(request, &self.node, &self.config.mount_pod)?;
        let pod = self.pods.ensure(&plan.pod).await?;
        if kept.served_pod().as_ref() == Some(&pod.uid) {
            return self.await_served(kept, &pod).await;
        }
        self.introduce(kept, &pod).await
    }

    async fn stage_anew(&self, request: VolumeRequest) -> Result<(), StageError> {
        let mut plan = plan(&request, &self.node, &self.config.mount_pod)?;
        let caches = self.cache_paths(&mut plan)?;
        let pod = self.pods.ensure(&plan.pod).await?;
        let kept = match self.mount_and_keep(&request, plan, &caches, &pod) {
            Ok(kept) => kept,
            Err(error) => {
                let _ = mount::unmount_lazily(&request.staging);
                self.delete_pod(&pod, 0).await;
                return Err(error);
            }
        };
        let served = self.introduce(&kept, &pod).await;
        if let Err(error) = &served
            && !matches!(error, StageError::NotYet { .. })
        {
            self.discard(&kept).await;
        }
        served
    }

    /// Mounts, and hands the descriptors to the keeper.
    fn mount_and_keep(
        &self,
        request: &VolumeRequest,
        plan: MountPlan,
        caches: &[PathBuf],
        pod: &PodRef,
    ) -> Result<Arc<Kept>, StageError> {
        mount::make_directory(&request.staging).map_err(io_error("make the staging path"))?;
        let device = mount::open_device()?;
        let source = format!("carafe:{}", plan.arguments.file_system);
        mount::mount_fuse(
            device.as_fd(),
            &source,
            &request.staging,
            plan.arguments.read_only,
        )?;
        let threads = match plan.arguments.options.io_threads {
            0 => self.config.mount_pod.io_threads,
            threads => threads,
        };
        let clones = (1..threads.min(32))
            .map(|_| mount::clone_device(device.as_fd()))
            .collect::<Result<_, _>>()?;
        let caches = caches
            .iter()
            .map(|path| mount::cache_directory(path, MOUNT_POD_USER))
            .collect::<Result<_, _>>()?;
        let bundle = Bundle {
            device: Some(device),
            clones,
            region: None,
            caches,
        };
        let kept = Kept::new(
            request.staging.clone(),
            pod.name.clone(),
            plan.arguments,
            plan.secret,
            bundle,
        );
        self.keeper.insert(kept.clone());
        Ok(kept)
    }

    /// Opens the keeper's socket in the pod and waits until the pod serves.
    async fn introduce(&self, kept: &Arc<Kept>, pod: &PodRef) -> Result<(), StageError> {
        let dir = self.socket_dir(pod);
        let made = async {
            directory::wait_for(&dir)
                .await
                .map_err(|error| StageError::Socket(error.to_string()))
        };
        let not_yet = || StageError::NotYet {
            volume: kept.volume().to_owned(),
            pod: pod.name.clone(),
            progress: "has no directory on the node yet: kubelet has not admitted it".into(),
        };
        tokio::select! {
            made = made => made?,
            trouble = self.pods.trouble(pod) => return Err(StageError::Trouble(trouble)),
            () = tokio::time::sleep(self.config.stage_timeout) => return Err(not_yet()),
        }
        let listener = Listener::bind(&dir, MOUNT_POD_USER)
            .map_err(|error| StageError::Socket(error.to_string()))?;
        kept.serve(listener, pod.uid.clone());
        self.await_served(kept, pod).await
    }

    async fn await_served(&self, kept: &Kept, pod: &PodRef) -> Result<(), StageError> {
        let ready = tokio::select! {
            // What the client says tells more than what kubelet sees of it.
            biased;
            ready = kept.wait_ready(self.config.stage_timeout) => ready,
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

    fn socket_dir(&self, pod: &PodRef) -> PathBuf {
        directory::empty_dir(&self.config.kubelet_dir, &pod.uid, SOCKET_VOLUME)
    }

    /// Where this volume caches on this node: a directory of its own below each that
    /// the options name. Puts the paths that the client sees into its arguments.
    fn cache_paths(&self, plan: &mut MountPlan) -> Result<Vec<PathBuf>, StageError> {
        let cache = &mut plan.arguments.options.cache;
        if cache.memory_only() {
            return Ok(Vec::new());
        }
        let wanted: Vec<PathBuf> = match cache.dirs.as_slice() {
            [] => self.config.cache_dirs.iter().take(1).cloned().collect(),
            dirs => dirs.iter().map(PathBuf::from).collect(),
        };
        if let Some(other) = wanted
            .iter()
            .find(|dir| !self.config.cache_dirs.contains(dir))
        {
            let allowed = self
                .config
                .cache_dirs
                .iter()
                .map(|dir| dir.display().to_string())
                .collect::<Vec<_>>();
            return Err(StageError::CacheDir {
                wanted: other.display().to_string(),
                allowed: allowed.join(", "),
            });
        }
        let paths: Vec<PathBuf> = wanted.iter().map(|dir| dir.join(&plan.name)).collect();
        cache.dirs = paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        Ok(paths)
    }

    /// Takes back a mount that was never served, or cannot be any more: what it holds
    /// is lost.
    async fn discard(&self, kept: &Kept) {
        if let Err(error) = mount::unmount_lazily(kept.staging()) {
            tracing::warn!(%error, volume = kept.volume(), "cannot unmount");
        }
        self.keeper.remove(kept.volume());
        match self.pods.find(kept.pod()).await {
            Ok(Some(pod)) => self.delete_pod(&pod, 0).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a mount pod is left"),
        }
        self.remove_caches(kept.pod());
    }

    async fn delete_pod(&self, pod: &PodRef, grace: u32) {
        if let Err(error) = self.pods.delete(pod, grace).await {
            tracing::warn!(%error, "a mount pod is left");
        }
    }

    /// Commits what the volume's client holds, unmounts, and takes the mount pod away.
    pub async fn unstage(&self, volume: &str, staging: &Path) -> Result<(), UnstageError> {
        let unmount_failed = |source| UnstageError::Unmount {
            volume: volume.to_owned(),
            source,
        };
        let staging = mount::absolute(staging).map_err(unmount_failed)?;
        if let Some(kept) = self.keeper.get(volume) {
            self.release(&kept).await?;
            let pod = self.pods.find(kept.pod()).await?;
            unmount_in_thread(&staging).await.map_err(unmount_failed)?;
            if let Some(pod) = &pod {
                self.pods.delete(pod, POD_GRACE).await?;
            }
            if !kept.end(END_PATIENCE).await {
                tracing::warn!(volume, "the mount pod did not end in time");
            }
            self.keeper.remove(volume);
            self.remove_caches(kept.pod());
            if let Some(pod) = &pod {
                let _ = tokio::time::timeout(END_PATIENCE, self.pods.wait_gone(pod)).await;
            }
        } else {
            self.clear_pods(volume).await?;
        }
        // Nobody serves what is still there: another life's, or a copy.
        mount::unmount_lazily(&staging).map_err(unmount_failed)
    }

    /// Deletes mount pods of a volume that is not kept.
    async fn clear_pods(&self, volume: &str) -> Result<(), UnstageError> {
        for pod in self
            .pods
            .list()
            .await?
            .iter()
            .filter(|pod| volume_of(pod) == Some(volume))
        {
            let pod = reference(pod);
            self.pods.delete(&pod, 0).await?;
            self.remove_caches(&pod.name);
        }
        Ok(())
    }

    async fn release(&self, kept: &Kept) -> Result<(), UnstageError> {
        if !kept.wait_held(RECONNECT_PATIENCE).await {
            tracing::warn!(
                volume = kept.volume(),
                "the mount's connection was lost before its last write-back"
            );
            return Ok(());
        }
        if self.pods.find(kept.pod()).await?.is_none() && !kept.is_connected() {
            tracing::warn!(
                volume = kept.volume(),
                "the mount pod was deleted before its last write-back"
            );
            return Ok(());
        }
        let released = kept.release(self.config.release_timeout).await;
        released.map_err(|error| UnstageError::not_released(kept.volume(), kept.pod(), &error))
    }

    fn remove_caches(&self, pod: &str) {
        if self.config.keep_cache || pod.is_empty() {
            return;
        }
        let paths: Vec<PathBuf> = self
            .config
            .cache_dirs
            .iter()
            .map(|dir| dir.join(pod))
            .collect();
        // A cache can be large: nobody waits for it.
        tokio::task::spawn_blocking(move || {
            for path in paths.iter().filter(|path| path.is_dir()) {
                if let Err(error) = std::fs::remove_dir_all(path) {
                    tracing::warn!(%error, path = %path.display(), "a cache directory is left");
                }
            }
        });
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

/// umount(2) waits while the kernel writes back: in a thread of its own, and out of
/// sight if the client does not take the pages in time.
async fn unmount_in_thread(staging: &Path) -> std::io::Result<()> {
    let path = staging.to_owned();
    let unmounting = tokio::task::spawn_blocking(move || mount::unmount(&path));
    match tokio::time::timeout(END_PATIENCE, unmounting).await {
        Ok(Ok(Ok(()))) => Ok(()),
        // Somebody has a file open who is no longer a pod of this volume.
        Ok(Ok(Err(error))) if error.kind() == std::io::ErrorKind::ResourceBusy => {
            mount::unmount_lazily(staging)
        }
        Ok(Ok(Err(error))) => Err(error),
        Ok(Err(_)) | Err(_) => mount::unmount_lazily(staging),
    }
}

fn io_error(step: &'static str) -> impl FnOnce(std::io::Error) -> StageError {
    move |source| StageError::Io { step, source }
}

fn is_mounted(staging: &Path) -> Result<bool, StageError> {
    let table = MountTable::read().map_err(io_error("read the mount table"))?;
    Ok(table
        .at(staging)
        .is_some_and(|entry| entry.fs_type == FUSE_TYPE))
}
