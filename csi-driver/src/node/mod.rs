//! The node service: what kubelet asks for.
//!
//! A volume is **staged** once on a node (mounted, with a mount pod that serves it)
//! and **published** for each pod (bound to the pod's target). Kubelet counts the
//! references. Calls about one volume come one after the other.

mod claims;
mod directory;
mod error;
mod plan;
mod pods;
mod publish;
mod stage;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use carafe_api::{VolumeSecret, handover::Usage};
use tonic::{Request, Response, Status, async_trait};

pub use claims::{CLAIM_NAME, CLAIM_NAMESPACE, Claims, KubeClaims};
pub use error::{PublishError, StageError, StatsError, UnpublishError, UnstageError};
pub use plan::{
    Claim, MOUNT_OPTIONS, MountPlan, NodeIdentity, PlanError, SOCKET_VOLUME, SUB_PATH,
    VolumeRequest, plan,
};
pub use pods::{KubePods, PodRef, Pods, PodsError};
pub use stage::Stager;

use crate::{
    capability,
    lock::KeyedLock,
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

    async fn stage(&self, request: NodeStageVolumeRequest) -> Result<(), StageError> {
        let capability = checked(
            &request.volume_id,
            &request.staging_target_path,
            request.volume_capability,
        )?;
        let _turn = self.locks.lock(&request.volume_id).await;
        if request.secrets.is_empty() {
            // A volume made for JuiceFS has its Secret in nodePublishSecretRef: the
            // first publish stages it.
            return Ok(());
        }
        self.stager
            .stage(volume_request(
                request.volume_id,
                request.staging_target_path,
                request.volume_context,
                &capability,
                &request.secrets,
            )?)
            .await
    }

    async fn unstage(&self, request: NodeUnstageVolumeRequest) -> Result<(), UnstageError> {
        present(&request.volume_id, "volume_id").map_err(UnstageError::Missing)?;
        present(&request.staging_target_path, "staging_target_path")
            .map_err(UnstageError::Missing)?;
        let _turn = self.locks.lock(&request.volume_id).await;
        self.stager
            .unstage(&request.volume_id, Path::new(&request.staging_target_path))
            .await
    }

    async fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), PublishError> {
        present(&request.target_path, "target_path").map_err(PublishError::Missing)?;
        let capability = checked(
            &request.volume_id,
            &request.staging_target_path,
            request.volume_capability,
        )?;
        let (id, staging) = (
            request.volume_id,
            PathBuf::from(&request.staging_target_path),
        );
        let failed = |source| PublishError::Target {
            volume: id.clone(),
            source,
        };
        let _turn = self.locks.lock(&id).await;
        if publish::is_published(Path::new(&request.target_path)).map_err(failed)? {
            self.rotate(&id, &request.secrets);
            return Ok(());
        }
        if !request.secrets.is_empty() {
            self.stager
                .stage(volume_request(
                    id.clone(),
                    request.staging_target_path,
                    request.volume_context,
                    &capability,
                    &request.secrets,
                )?)
                .await?;
        } else if !publish::is_staged(&staging).map_err(failed)? {
            return Err(PublishError::NotStaged(id));
        }
        let target = Path::new(&request.target_path);
        if capability::is_for_one_pod(&capability)
            && publish::is_published_elsewhere(&staging, target).map_err(failed)?
        {
            return Err(PublishError::InUse(id));
        }
        let read_only = request.readonly || capability::is_read_only(&capability);
        publish::publish(&id, &staging, Path::new(&request.target_path), read_only)
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
        let _turn = self.locks.lock(&request.volume_id).await;
        publish::unpublish(&request.volume_id, Path::new(&request.target_path))
    }

    /// Does not take the volume's turn: a long stage must not hide how the volume is.
    async fn stats(
        &self,
        request: NodeGetVolumeStatsRequest,
    ) -> Result<NodeGetVolumeStatsResponse, StatsError> {
        present(&request.volume_id, "volume_id").map_err(StatsError::Missing)?;
        present(&request.volume_path, "volume_path").map_err(StatsError::Missing)?;
        if !publish::is_published(Path::new(&request.volume_path)).map_err(StatsError::Table)? {
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
            self.publish(request)
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
