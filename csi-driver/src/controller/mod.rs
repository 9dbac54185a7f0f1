//! The controller service: what is done once for a volume.
//!
//! The controller opens the metadata engine itself, so a volume is made, grown or
//! deleted in milliseconds. A volume's id is its PersistentVolume's name; its path and
//! owner stand in the engine beside it.

mod claim;
mod engines;
mod error;
mod lease;
mod parameters;
mod pattern;
mod reclaim;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_api::{MountOptions, VolumeSecret};
use carafe_meta::{NewVolume, VolumeError};
use tonic::{Request, Response, Status, async_trait};

pub use claim::{ClaimTags, KubeClaimTags};
pub use engines::{Engines, FileSystem, OpenFailure};
pub use error::{CreateError, DeleteError, ExpandError, ValidateError};
pub use lease::Elector;
pub use parameters::{ParameterError, Parameters};
pub use pattern::{Names, PatternError, Tags};
pub use reclaim::{Reclaimer, reclaim};

use crate::{
    attributes::{CLAIM_NAME, CLAIM_NAMESPACE, MOUNT_OPTIONS, SUB_PATH, clean, join},
    capability,
    lock::KeyedLock,
    proto::csi::{
        CapacityRange, ControllerExpandVolumeRequest, ControllerExpandVolumeResponse,
        ControllerGetCapabilitiesRequest, ControllerGetCapabilitiesResponse,
        ControllerServiceCapability, CreateVolumeRequest, CreateVolumeResponse,
        DeleteVolumeRequest, DeleteVolumeResponse, ValidateVolumeCapabilitiesRequest,
        ValidateVolumeCapabilitiesResponse, Volume,
        controller_server::Controller,
        controller_service_capability::{Rpc, Type, rpc::Type as RpcType},
        validate_volume_capabilities_response::Confirmed,
    },
};

/// New directories may be written by any user of the pods that mount them, as with
/// JuiceFS; who may mount them is Kubernetes's to say.
const MODE: u16 = 0o777;

/// How long a call waits for another one about its volume.
const TURN_PATIENCE: Duration = Duration::from_secs(10);

/// The controller service.
#[derive(Clone)]
pub struct ControllerService {
    engines: Arc<Engines>,
    claims: Arc<dyn ClaimTags>,
    locks: KeyedLock,
}

impl ControllerService {
    /// The service over the file systems that it opens.
    pub fn new(engines: Arc<Engines>, claims: Arc<dyn ClaimTags>) -> Self {
        Self {
            engines,
            claims,
            locks: KeyedLock::default(),
        }
    }

    async fn create(&self, request: CreateVolumeRequest) -> Result<Volume, CreateError> {
        present(&request.name, "name").map_err(CreateError::Missing)?;
        if request.volume_capabilities.is_empty() {
            return Err(CreateError::Missing("volume_capabilities"));
        }
        capability::check(&request.volume_capabilities).map_err(CreateError::Capability)?;
        if request.volume_content_source.is_some() {
            return Err(CreateError::Source);
        }
        let capacity = capacity(request.capacity_range.as_ref()).map_err(CreateError::Size)?;
        let parameters = Parameters::read(&request.parameters)?;
        let options = options(&request, &parameters)?;
        let subdir = clean(&options.subdir).map_err(CreateError::Subdir)?;
        let secret = secret(&request.secrets)?.ok_or(CreateError::NoSecret)?;
        let _turn = self.locks.turn(&request.name, TURN_PATIENCE).await?;
        let path = self.path(&request.name, &parameters).await?;
        let volume = NewVolume {
            id: request.name,
            path: join(&subdir, &path),
            capacity,
            inodes: parameters.inodes,
            share: parameters.share,
            mode: MODE,
            owner: parameters.owner(),
        };
        let system = self.engines.open_checked(&secret).await?;
        let record = system
            .meta
            .create_volume(&self.engines.call(), &volume)
            .await;
        let record = record.inspect_err(|error| self.lost(&secret, error))?;
        Ok(Volume {
            capacity_bytes: i64::try_from(record.capacity).unwrap_or(i64::MAX),
            volume_id: record.id,
            volume_context: context(&path, parameters),
            content_source: None,
            accessible_topology: Vec::new(),
        })
    }

    async fn path(&self, name: &str, parameters: &Parameters) -> Result<String, CreateError> {
        let Some(pattern) = &parameters.path_pattern else {
            return Ok(name.to_owned());
        };
        let mut names = Names {
            volume: name.to_owned(),
            namespace: parameters.namespace.clone(),
            claim: parameters.claim.clone(),
            tags: None,
        };
        if pattern::needs_tags(pattern)
            && let (Some(namespace), Some(claim)) = (&names.namespace, &names.claim)
        {
            let tags = self.claims.tags(namespace, claim).await;
            names.tags = Some(tags.map_err(|reason| CreateError::Claim {
                claim: parameters.owner(),
                reason,
            })?);
        }
        Ok(pattern::fill(pattern, &names)?)
    }

    async fn delete(&self, request: DeleteVolumeRequest) -> Result<(), DeleteError> {
        present(&request.volume_id, "volume_id").map_err(DeleteError::Missing)?;
        let secret = secret(&request.secrets)?
            .ok_or_else(|| DeleteError::NoSecret(request.volume_id.clone()))?;
        let _turn = self.locks.turn(&request.volume_id, TURN_PATIENCE).await?;
        let system = match self.engines.open(&secret, false).await {
            Ok(system) => system,
            // No file system, no volume.
            Err(OpenFailure::Unformatted(_)) => return Ok(()),
            Err(error) => return Err(DeleteError::Open(error)),
        };
        let deleted = system
            .meta
            .delete_volume(&self.engines.call(), &request.volume_id)
            .await;
        match deleted {
            Ok(()) | Err(VolumeError::NotFound(_)) => Ok(()),
            Err(error) => {
                self.lost(&secret, &error);
                Err(error.into())
            }
        }
    }

    async fn expand(&self, request: ControllerExpandVolumeRequest) -> Result<u64, ExpandError> {
        present(&request.volume_id, "volume_id").map_err(ExpandError::Missing)?;
        let range = request
            .capacity_range
            .as_ref()
            .ok_or(ExpandError::Missing("capacity_range"))?;
        capability::check(&request.volume_capability).map_err(ExpandError::Capability)?;
        let wanted = capacity(Some(range)).map_err(ExpandError::Size)?;
        let secret = secret(&request.secrets)?
            .ok_or_else(|| ExpandError::NoSecret(request.volume_id.clone()))?;
        let _turn = self.locks.turn(&request.volume_id, TURN_PATIENCE).await?;
        let system = self.engines.open(&secret, false).await?;
        let call = self.engines.call();
        let record = system
            .meta
            .volume(&call, &request.volume_id)
            .await
            .map_err(VolumeError::Engine)?;
        let record = record.ok_or_else(|| VolumeError::NotFound(request.volume_id.clone()))?;
        // Growing only: a volume that is larger already, or has no limit, is fine.
        if record.capacity == 0 || record.capacity >= wanted {
            return Ok(record.capacity.max(wanted));
        }
        let grown = system
            .meta
            .resize_volume(&call, &request.volume_id, wanted)
            .await;
        Ok(grown
            .inspect_err(|error| self.lost(&secret, error))?
            .capacity)
    }

    async fn validate(
        &self,
        request: ValidateVolumeCapabilitiesRequest,
    ) -> Result<ValidateVolumeCapabilitiesResponse, ValidateError> {
        present(&request.volume_id, "volume_id").map_err(ValidateError::Missing)?;
        if request.volume_capabilities.is_empty() {
            return Err(ValidateError::Missing("volume_capabilities"));
        }
        // A volume that was made by hand has no record: without a Secret it is believed.
        if let Some(secret) = secret(&request.secrets)? {
            let system = match self.engines.open(&secret, false).await {
                Err(OpenFailure::Unformatted(_)) => {
                    return Err(ValidateError::NotFound(request.volume_id));
                }
                opened => opened?,
            };
            let record = system
                .meta
                .volume(&self.engines.call(), &request.volume_id)
                .await;
            if record.map_err(ValidateError::Meta)?.is_none()
                && !request.volume_context.contains_key(SUB_PATH)
            {
                return Err(ValidateError::NotFound(request.volume_id));
            }
        }
        Ok(match capability::check(&request.volume_capabilities) {
            Ok(()) => ValidateVolumeCapabilitiesResponse {
                confirmed: Some(Confirmed {
                    volume_context: request.volume_context,
                    volume_capabilities: request.volume_capabilities,
                    parameters: request.parameters,
                    mutable_parameters: HashMap::new(),
                }),
                message: String::new(),
            },
            Err(reason) => ValidateVolumeCapabilitiesResponse {
                confirmed: None,
                message: reason.to_owned(),
            },
        })
    }

    /// An engine that failed is opened anew by the next call.
    fn lost(&self, secret: &VolumeSecret, error: &VolumeError) {
        if matches!(error, VolumeError::Engine(_)) {
            self.engines.close(secret);
        }
    }
}

fn present(field: &str, name: &'static str) -> Result<(), &'static str> {
    if field.is_empty() { Err(name) } else { Ok(()) }
}

/// The Secret of a call; `None` if the call has none.
fn secret(
    fields: &HashMap<String, String>,
) -> Result<Option<VolumeSecret>, carafe_api::SecretError> {
    if fields.is_empty() {
        Ok(None)
    } else {
        VolumeSecret::from_fields(fields).map(Some)
    }
}

/// The size that a range asks for; 0 means no limit.
fn capacity(range: Option<&CapacityRange>) -> Result<u64, &'static str> {
    let Some(range) = range else { return Ok(0) };
    let size = |bytes: i64| u64::try_from(bytes).map_err(|_| "a size cannot be negative");
    let (required, limit) = (size(range.required_bytes)?, size(range.limit_bytes)?);
    match (required, limit) {
        (required, limit) if limit > 0 && required > limit => {
            Err("limit_bytes is smaller than required_bytes")
        }
        (0, limit) => Ok(limit),
        (required, _) => Ok(required),
    }
}

/// Wrong options are found when the claim is made, not when a pod starts.
fn options(
    request: &CreateVolumeRequest,
    parameters: &Parameters,
) -> Result<MountOptions, carafe_api::OptionError> {
    let flags = request
        .volume_capabilities
        .iter()
        .flat_map(capability::mount_flags);
    MountOptions::parse(parameters.mount_options.iter().cloned().chain(flags))
}

/// What the node plugin gets to see of a volume.
fn context(path: &str, parameters: Parameters) -> HashMap<String, String> {
    let mut context = HashMap::from([(SUB_PATH.to_owned(), path.to_owned())]);
    let more = [
        (CLAIM_NAMESPACE, parameters.namespace),
        (CLAIM_NAME, parameters.claim),
        (MOUNT_OPTIONS, parameters.mount_options),
    ];
    context.extend(
        more.into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?))),
    );
    context
}

/// Logs a failure where it is handled: here it goes to the sidecar, and to events.
fn answered<T>(
    call: &str,
    volume: &str,
    start: Instant,
    result: Result<T, impl Into<Status>>,
) -> Result<Response<T>, Status> {
    let millis = start.elapsed().as_secs_f64() * 1000.0;
    match result {
        Ok(response) => {
            tracing::info!(call, volume, millis, "done");
            Ok(Response::new(response))
        }
        Err(error) => {
            let status = error.into();
            tracing::warn!(call, volume, millis, code = ?status.code(), reason = status.message(), "answered with an error");
            Err(status)
        }
    }
}

#[async_trait]
impl Controller for ControllerService {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let (start, request) = (Instant::now(), request.into_inner());
        let name = request.name.clone();
        let made = self
            .create(request)
            .await
            .map(|volume| CreateVolumeResponse {
                volume: Some(volume),
            });
        answered("CreateVolume", &name, start, made)
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let (start, request) = (Instant::now(), request.into_inner());
        let id = request.volume_id.clone();
        answered(
            "DeleteVolume",
            &id,
            start,
            self.delete(request).await.map(|()| DeleteVolumeResponse {}),
        )
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let (start, request) = (Instant::now(), request.into_inner());
        let id = request.volume_id.clone();
        answered(
            "ValidateVolumeCapabilities",
            &id,
            start,
            self.validate(request).await,
        )
    }

    async fn controller_get_capabilities(
        &self,
        _request: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let all = [
            RpcType::CreateDeleteVolume,
            RpcType::ExpandVolume,
            RpcType::SingleNodeMultiWriter,
        ];
        let capability = |rpc: RpcType| ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: rpc.into() })),
        };
        let capabilities = all.into_iter().map(capability).collect();
        Ok(Response::new(ControllerGetCapabilitiesResponse {
            capabilities,
        }))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let (start, request) = (Instant::now(), request.into_inner());
        let id = request.volume_id.clone();
        let grown = self
            .expand(request)
            .await
            .map(|capacity| ControllerExpandVolumeResponse {
                capacity_bytes: i64::try_from(capacity).unwrap_or(i64::MAX),
                node_expansion_required: false,
            });
        answered("ControllerExpandVolume", &id, start, grown)
    }
}
