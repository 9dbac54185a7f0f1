//! The node service: what kubelet asks for.
//!
//! A volume is **staged** once on a node (mounted, with a mount pod that serves it)
//! and **published** for each pod (bound to the pod's target). Kubelet counts the
//! references. Calls about one volume come one after the other.

mod caches;
mod claims;
mod departures;
mod directory;
mod error;
mod plan;
mod pods;
mod publish;
mod recover;
mod stage;
mod staging;
mod succession;
mod sweep;
mod unstage;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use carafe_api::{VolumeSecret, handover::Usage};
use tonic::{Request, Response, Status, async_trait};

pub use claims::{Claims, KubeClaims};
pub use error::{PublishError, StageError, StatsError, UnpublishError, UnstageError};
pub use plan::{Claim, MountPlan, NodeIdentity, PlanError, SOCKET_VOLUME, VolumeRequest, plan};
pub use pods::{Ensured, KubePods, PodRef, Pods, PodsError};
use publish::{Outcome, Publication};
pub use stage::Stager;

use crate::{
    capability,
    lock::{self, KERNEL_PATIENCE, KeyedLock, Turn},
    proto::csi::{
        NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest,
        NodeGetInfoResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
        NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability,
        NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnpublishVolumeRequest,
        NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
        VolumeCapability, VolumeCondition, VolumeUsage,
        node_server::Node,
        node_service_capability::{Rpc, Type, rpc::Type as RpcType},
        volume_usage::Unit,
    },
};

/// How long a mount's client may take to say how full the volume is.
const STATS_PATIENCE: Duration = Duration::from_secs(5);

/// How long a call waits for another one about its volume.
const TURN_PATIENCE: Duration = Duration::from_secs(30);

/// The node service.
#[derive(Clone)]
pub struct NodeService {
    stager: Arc<Stager>,
    locks: KeyedLock,
}

impl NodeService {
    /// The service over what it stages with.
    pub fn new(stager: Arc<Stager>) -> Self {
        Self {
            stager,
            locks: KeyedLock::default(),
        }
    }

    /// Takes away what no call will ask for again: mounts that nobody serves, and mount
    /// pods that serve nothing. Volumes that a call is about have their turn another
    /// time.
    pub async fn sweep(&self) -> Result<(), PodsError> {
        for left in self.stager.leftovers().await? {
            if let Ok(turn) = self.locks.turn(left.volume(), Duration::ZERO).await {
                self.stager.clear(&left, &turn).await?;
            }
        }
        Ok(())
    }

    async fn stage(&self, request: NodeStageVolumeRequest) -> Result<(), StageError> {
        let context = Stager::sorted(request.volume_context.clone());
        let id = request.volume_id.clone();
        let staged = self.stage_in_turn(request).await;
        if let Err(error) = &staged {
            self.warn(&id, &context, error).await;
        }
        staged
    }

    async fn stage_in_turn(&self, request: NodeStageVolumeRequest) -> Result<(), StageError> {
        let capability = checked(
            &request.volume_id,
            &request.staging_target_path,
            request.volume_capability,
        )?;
        let turn = self.locks.turn(&request.volume_id, TURN_PATIENCE).await?;
        if request.secrets.is_empty() {
            // A volume made for JuiceFS has its Secret in nodePublishSecretRef: the
            // first publish stages it.
            return Ok(());
        }
        let request = volume_request(
            request.volume_id,
            request.staging_target_path,
            request.volume_context,
            &capability,
            &request.secrets,
        )?;
        self.stager.stage(request, &turn).await
    }

    /// Kubelet tells the pod; the claim's owner may not see that.
    async fn warn(
        &self,
        id: &str,
        context: &BTreeMap<String, String>,
        error: &(dyn std::error::Error + Sync),
    ) {
        if !id.is_empty() {
            self.stager.warn(id, context, &error.to_string()).await;
        }
    }

    async fn unstage(&self, request: NodeUnstageVolumeRequest) -> Result<(), UnstageError> {
        present(&request.volume_id, "volume_id").map_err(UnstageError::Missing)?;
        present(&request.staging_target_path, "staging_target_path")
            .map_err(UnstageError::Missing)?;
        let turn = self.locks.turn(&request.volume_id, TURN_PATIENCE).await?;
        let staging = Path::new(&request.staging_target_path);
        self.stager
            .unstage(&request.volume_id, staging, &turn)
            .await
    }

    async fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), PublishError> {
        let context = Stager::sorted(request.volume_context.clone());
        let id = request.volume_id.clone();
        let published = self.publish_in_turn(request).await;
        if let Err(error) = &published {
            self.warn(&id, &context, error).await;
        }
        published
    }

    async fn publish_in_turn(&self, request: NodePublishVolumeRequest) -> Result<(), PublishError> {
        present(&request.target_path, "target_path").map_err(PublishError::Missing)?;
        let capability = checked(
            &request.volume_id,
            &request.staging_target_path,
            request.volume_capability,
        )?;
        let (id, secrets) = (request.volume_id, request.secrets);
        let publication = Publication {
            staging: PathBuf::from(&request.staging_target_path),
            target: PathBuf::from(&request.target_path),
            read_only: request.readonly || capability::is_read_only(&capability),
            for_one_pod: capability::is_for_one_pod(&capability),
        };
        let turn = self.locks.turn(&id, TURN_PATIENCE).await?;
        let seen = in_turn(&turn, &id, &publication, Publication::look).await?;
        if seen.published && !seen.stale && (secrets.is_empty() || self.stager.is_connected(&id)) {
            self.rotate(&id, &secrets);
            return Ok(());
        }
        if !secrets.is_empty() {
            let request = volume_request(
                id.clone(),
                request.staging_target_path,
                request.volume_context,
                &capability,
                &secrets,
            )?;
            self.stager.stage(request, &turn).await?;
        }
        match in_turn(&turn, &id, &publication, Publication::publish).await? {
            Outcome::Published => Ok(()),
            Outcome::NotStaged => Err(PublishError::NotStaged(id)),
            Outcome::InUse => Err(PublishError::InUse(id)),
        }
    }

    /// Kubelet repeats the publish with what the Secret says by now.
    fn rotate(&self, volume: &str, secrets: &HashMap<String, String>) {
        if secrets.is_empty() {
            return;
        }
        match VolumeSecret::from_fields(secrets) {
            Ok(secret) => self.stager.rotate(volume, &secret),
            Err(error) => {
                tracing::warn!(volume, %error, "the changed Secret cannot be used; the mount keeps the old one");
            }
        }
    }

    async fn unpublish(&self, request: NodeUnpublishVolumeRequest) -> Result<(), UnpublishError> {
        present(&request.volume_id, "volume_id").map_err(UnpublishError::Missing)?;
        present(&request.target_path, "target_path").map_err(UnpublishError::Missing)?;
        let volume = request.volume_id;
        let turn = self.locks.turn(&volume, TURN_PATIENCE).await?;
        let target = PathBuf::from(request.target_path);
        turn.aside(KERNEL_PATIENCE, move || publish::unpublish(&target))
            .await
            .map_err(|source| UnpublishError::Target { volume, source })
    }

    /// Does not take the volume's turn: a long stage must not hide how the volume is.
    async fn stats(
        &self,
        request: NodeGetVolumeStatsRequest,
    ) -> Result<NodeGetVolumeStatsResponse, StatsError> {
        present(&request.volume_id, "volume_id").map_err(StatsError::Missing)?;
        present(&request.volume_path, "volume_path").map_err(StatsError::Missing)?;
        let path = PathBuf::from(&request.volume_path);
        let looking = lock::aside(STATS_PATIENCE, move || publish::is_published(&path));
        if !looking.await.map_err(StatsError::Table)? {
            return Err(StatsError::NotMounted(request.volume_id));
        }
        let kept = self.stager.keeper.get(&request.volume_id);
        let usage = match &kept {
            Some(kept) => kept.usage(STATS_PATIENCE).await,
            None => None,
        };
        Ok(match usage {
            Some(usage) => healthy(usage),
            None => unhealthy(kept.map_or(
                "the node plugin does not keep this mount",
                |_| "the mount pod does not answer: reads and writes wait until it does",
            )),
        })
    }
}

/// Runs a step of a publication, which may block, on a thread of its own.
async fn in_turn<T: Send + 'static>(
    turn: &Turn,
    id: &str,
    publication: &Publication,
    step: fn(&Publication) -> std::io::Result<T>,
) -> Result<T, PublishError> {
    let publication = publication.clone();
    turn.aside(KERNEL_PATIENCE, move || step(&publication))
        .await
        .map_err(|source| PublishError::Target {
            volume: id.to_owned(),
            source,
        })
}

fn present(field: &str, name: &'static str) -> Result<(), &'static str> {
    if field.is_empty() { Err(name) } else { Ok(()) }
}

fn checked(
    id: &str,
    staging: &str,
    capability: Option<VolumeCapability>,
) -> Result<VolumeCapability, StageError> {
    present(id, "volume_id").map_err(StageError::Missing)?;
    present(staging, "staging_target_path").map_err(StageError::Missing)?;
    let capability = capability.ok_or(StageError::Missing("volume_capability"))?;
    capability::check([&capability]).map_err(StageError::Capability)?;
    Ok(capability)
}

fn volume_request(
    id: String,
    staging: String,
    context: HashMap<String, String>,
    capability: &VolumeCapability,
    secrets: &HashMap<String, String>,
) -> Result<VolumeRequest, StageError> {
    Ok(VolumeRequest {
        id,
        context: Stager::sorted(context),
        mount_flags: capability::mount_flags(capability),
        // A read-only access mode is each pod's own bind: another PV's pod of the same
        // volume may write. Only the options make the whole mount read-only.
        read_only: false,
        staging: staging.into(),
        claim: None,
        secret: VolumeSecret::from_fields(secrets)?,
    })
}

fn healthy(usage: Usage) -> NodeGetVolumeStatsResponse {
    let line = |unit: Unit, total: u64, free: u64, used: u64| {
        let figure = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        VolumeUsage {
            unit: unit.into(),
            total: figure(total),
            available: figure(free),
            used: figure(used),
        }
    };
    let inodes = usage.used_inodes.saturating_add(usage.free_inodes);
    let used = usage.total_bytes.saturating_sub(usage.free_bytes);
    NodeGetVolumeStatsResponse {
        usage: vec![
            line(Unit::Bytes, usage.total_bytes, usage.free_bytes, used),
            line(Unit::Inodes, inodes, usage.free_inodes, usage.used_inodes),
        ],
        volume_condition: Some(VolumeCondition {
            abnormal: false,
            message: "the volume is served".into(),
        }),
    }
}

/// The specification wants at least one usage where there is a condition; kubelet
/// takes zeros as unknown.
fn unhealthy(message: &str) -> NodeGetVolumeStatsResponse {
    NodeGetVolumeStatsResponse {
        usage: vec![VolumeUsage {
            unit: Unit::Bytes.into(),
            total: 0,
            available: 0,
            used: 0,
        }],
        volume_condition: Some(VolumeCondition {
            abnormal: true,
            message: message.into(),
        }),
    }
}

/// Logs a failure where it is handled: here it goes to kubelet.
fn answered<T>(
    call: &str,
    volume: &str,
    result: Result<T, impl Into<Status>>,
) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| {
        let status = error.into();
        tracing::warn!(call, volume, code = ?status.code(), reason = status.message(), "answered with an error");
        status
    })
}

#[async_trait]
impl Node for NodeService {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        answered(
            "NodeStageVolume",
            &id,
            self.stage(request)
                .await
                .map(|()| NodeStageVolumeResponse {}),
        )
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        answered(
            "NodeUnstageVolume",
            &id,
            self.unstage(request)
                .await
                .map(|()| NodeUnstageVolumeResponse {}),
        )
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        answered(
            "NodePublishVolume",
            &id,
            Box::pin(self.publish(request))
                .await
                .map(|()| NodePublishVolumeResponse {}),
        )
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        answered(
            "NodeUnpublishVolume",
            &id,
            self.unpublish(request)
                .await
                .map(|()| NodeUnpublishVolumeResponse {}),
        )
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        answered("NodeGetVolumeStats", &id, self.stats(request).await)
    }

    async fn node_get_capabilities(
        &self,
        _request: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let all = [
            RpcType::StageUnstageVolume,
            RpcType::GetVolumeStats,
            RpcType::VolumeCondition,
            RpcType::SingleNodeMultiWriter,
        ];
        let capability = |rpc: RpcType| NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: rpc.into() })),
        };
        Ok(Response::new(NodeGetCapabilitiesResponse {
            capabilities: all.into_iter().map(capability).collect(),
        }))
    }

    async fn node_get_info(
        &self,
        _request: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.stager.node.name.clone(),
            max_volumes_per_node: 0,
            accessible_topology: None,
        }))
    }
}
