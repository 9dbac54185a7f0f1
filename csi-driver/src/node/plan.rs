//! From what kubelet says about a volume to a mount pod and its arguments: pure.
//!
//! The pod holds nothing about the file system but the names of volume and claim:
//! arguments and secret reach it through the keeper.

use std::{collections::BTreeMap, path::PathBuf};

use carafe_api::{MountArguments, MountOptions, OptionError, VolumeSecret, handover, labels};
use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, EmptyDirVolumeSource, EnvVar, LocalObjectReference, Pod,
        PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile, SecurityContext,
        Toleration, Volume, VolumeMount,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};

use crate::{
    attributes::{CLAIM_NAME, MOUNT_OPTIONS, SUB_PATH, clean, join},
    config::MountPodArgs,
};

/// The name of the pod's volume that the keeper's socket lies in.
pub const SOCKET_VOLUME: &str = "keeper";

/// A second is a short answer to SIGTERM, so the pod gets a day: it serves until the
/// keeper releases it, and an eviction must not cut that short.
const GRACE_SECONDS: i64 = 86_400;

/// What claims have unless their options say otherwise: no `.control` and `.trash` in
/// sight, and no background work, which the controller does once a volume.
const DEFAULTS: [&str; 2] = ["hide-internal", "no-bgjob"];

/// The claim that a volume belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What kubelet says about a volume.
#[derive(Clone, Debug, Default)]
pub struct VolumeRequest {
    /// The volume's id.
    pub id: String,
    /// The PV's attributes.
    pub context: BTreeMap<String, String>,
    /// The PV's mount options.
    pub mount_flags: Vec<String>,
    /// The access mode allows reading only.
    pub read_only: bool,
    /// Where it is staged.
    pub staging: PathBuf,
    /// Its claim, if it is known.
    pub claim: Option<Claim>,
    /// Its Secret.
    pub secret: VolumeSecret,
}

/// The node that the plugin runs on.
#[derive(Clone, Debug, Default)]
pub struct NodeIdentity {
    /// Its name.
    pub name: String,
    /// Its Kubernetes uid.
    pub uid: String,
}

/// A mount pod, and what it is to serve.
#[derive(Clone, Debug)]
pub struct MountPlan {
    /// The pod.
    pub pod: Pod,
    /// The pod's name.
    pub name: String,
    /// What it serves.
    pub arguments: MountArguments,
    /// With which secret.
    pub secret: VolumeSecret,
}

/// Why a volume cannot be mounted as it is described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A mount option is wrong.
    #[error("{0}: correct mountOptions of the StorageClass or PersistentVolume")]
    Option(#[from] OptionError),
    /// The sub-directory leaves the file system.
    #[error(
        "the sub-directory {0:?} must be relative and without \"..\": correct subPath in the volume's attributes, or the option subdir"
    )]
    SubPath(String),
}

/// Plans the mount pod of a volume on a node.
pub fn plan(
    request: &VolumeRequest,
    node: &NodeIdentity,
    config: &MountPodArgs,
) -> Result<MountPlan, PlanError> {
    let name = pod_name(request, node);
    Ok(MountPlan {
        pod: Pod {
            metadata: metadata(&name, request, node, config),
            spec: Some(spec(node, config)),
            ..Pod::default()
        },
        arguments: arguments(request, node)?,
        secret: request.secret.clone(),
        name,
    })
}

/// Plans the pod that takes over from one that is gone: as described as it, and made as
/// the plugin makes pods now.
pub(super) fn successor(former: &Pod, node: &NodeIdentity, config: &MountPodArgs) -> Pod {
    let former = &former.metadata;
    Pod {
        metadata: ObjectMeta {
            name: former.name.clone(),
            namespace: Some(config.namespace.clone()),
            labels: former.labels.clone(),
            annotations: former.annotations.clone(),
            owner_references: Some(vec![owner(node)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec(node, config)),
        ..Pod::default()
    }
}

/// What the client is to serve.
pub(super) fn arguments(
    request: &VolumeRequest,
    node: &NodeIdentity,
) -> Result<MountArguments, PlanError> {
    let from_context = request.context.get(MOUNT_OPTIONS).map(String::as_str);
    let flags = request.mount_flags.iter().map(String::as_str);
    let texts = DEFAULTS.into_iter().chain(from_context).chain(flags);
    let options = MountOptions::parse(texts)?;
    let sub_path = request.context.get(SUB_PATH).map_or("", String::as_str);
    let claim = request.claim.clone().unwrap_or_default();
    Ok(MountArguments {
        volume: request.id.clone(),
        file_system: request.secret.name.clone(),
        subdir: directory(&options.subdir, sub_path)?,
        read_only: request.read_only || options.read_only,
        options,
        mount_point: request.staging.to_string_lossy().into_owned(),
        node: node.name.clone(),
        namespace: claim.namespace,
        claim: claim.name,
    })
}

/// Where the volume lies in its file system.
fn directory(subdir: &str, sub_path: &str) -> Result<String, PlanError> {
    let clean = |path| clean(path).map_err(PlanError::SubPath);
    Ok(join(&clean(subdir)?, &clean(sub_path)?))
}

/// `carafe-<node>-<claim>-<hash>`: readable, and the same for the same volume and node.
fn pod_name(request: &VolumeRequest, node: &NodeIdentity) -> String {
    // From the volume's own attributes: what only the API server knows of its claim may
    // be known to one call and not to the next.
    let claim = request.context.get(CLAIM_NAME).unwrap_or(&request.id);
    let hash = labels::short_hash(&format!("{}\0{}", node.name, request.id), 10);
    let parts = [
        labels::name_part(&node.name, 20),
        labels::name_part(claim, 24),
    ];
    let parts = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(String::as_str);
    let name = ["carafe"]
        .into_iter()
        .chain(parts)
        .collect::<Vec<_>>()
        .join("-");
    format!("{name}-{hash}")
}

fn metadata(
    name: &str,
    request: &VolumeRequest,
    node: &NodeIdentity,
    config: &MountPodArgs,
) -> ObjectMeta {
    let (mut tags, mut notes) = (BTreeMap::new(), BTreeMap::new());
    tags.insert(labels::NAME.to_owned(), labels::MOUNT_POD.to_owned());
    labels::put(&mut tags, &mut notes, labels::VOLUME, &request.id);
    labels::put(&mut tags, &mut notes, labels::NODE, &node.name);
    if let Some(claim) = &request.claim {
        labels::put(&mut tags, &mut notes, labels::CLAIM, &claim.name);
        labels::put(&mut tags, &mut notes, labels::NAMESPACE, &claim.namespace);
    }
    notes.insert(
        labels::STAGING_PATH.to_owned(),
        request.staging.to_string_lossy().into_owned(),
    );
    // An autoscaler may remove the node: the pod goes with its last user.
    notes.insert(
        "cluster-autoscaler.kubernetes.io/safe-to-evict".into(),
        "true".into(),
    );
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(config.namespace.clone()),
        labels: Some(tags),
        annotations: Some(notes),
        owner_references: Some(vec![owner(node)]),
        ..ObjectMeta::default()
    }
}

/// A controlling owner lets `kubectl drain` pass without `--force`.
fn owner(node: &NodeIdentity) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.name.clone(),
        uid: node.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn spec(node: &NodeIdentity, config: &MountPodArgs) -> PodSpec {
    let everything = Toleration {
        operator: Some("Exists".into()),
        ..Toleration::default()
    };
    let pull_secrets = config
        .image_pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() });
    PodSpec {
        node_name: Some(node.name.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        restart_policy: Some("Always".into()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        priority_class_name: (!config.priority_class.is_empty())
            .then(|| config.priority_class.clone()),
        image_pull_secrets: (!config.image_pull_secrets.is_empty()).then(|| pull_secrets.collect()),
        tolerations: Some(vec![everything]),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(handover::MOUNT_POD_USER.into()),
            run_as_group: Some(handover::MOUNT_POD_USER.into()),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(config)],
        volumes: Some(vec![Volume {
            name: SOCKET_VOLUME.into(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity("1Mi".into())),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

fn container(config: &MountPodArgs) -> Container {
    let words = [
        "/usr/bin/carafe",
        "supervise",
        "--socket-dir",
        handover::SOCKET_DIR,
    ];
    Container {
        name: "mount".into(),
        image: Some(config.image.clone()),
        image_pull_policy: Some(config.image_pull_policy.clone()),
        command: Some(words.map(str::to_owned).to_vec()),
        env: Some(vec![
            field("CARAFE_POD_NAME", "metadata.name"),
            EnvVar {
                name: "RUST_LOG".into(),
                value: Some(config.log.clone()),
                ..EnvVar::default()
            },
        ]),
        resources: Some(resources(config)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                add: None,
            }),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            seccomp_profile: Some(runtime_default()),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: SOCKET_VOLUME.into(),
            mount_path: handover::SOCKET_DIR.into(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn field(name: &str, path: &str) -> EnvVar {
    use k8s_openapi::api::core::v1::{EnvVarSource, ObjectFieldSelector};
    let field_ref = ObjectFieldSelector {
        field_path: path.to_owned(),
        api_version: None,
    };
    let source = EnvVarSource {
        field_ref: Some(field_ref),
        ..EnvVarSource::default()
    };
    EnvVar {
        name: name.to_owned(),
        value_from: Some(source),
        value: None,
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".into(),
        localhost_profile: None,
    }
}

fn resources(config: &MountPodArgs) -> ResourceRequirements {
    let quantities = |cpu: &str, memory: &str| {
        let given = [("cpu", cpu), ("memory", memory)]
            .into_iter()
            .filter(|(_, amount)| !amount.is_empty());
        let map: BTreeMap<_, _> = given
            .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())))
            .collect();
        (!map.is_empty()).then_some(map)
    };
    ResourceRequirements {
        requests: quantities(&config.cpu_request, &config.memory_request),
        limits: quantities(&config.cpu_limit, &config.memory_limit),
        claims: None,
    }
}

#[cfg(test)]
mod tests {
    use carafe_types::Secret;

    use super::*;

    fn config() -> MountPodArgs {
        MountPodArgs {
            namespace: "carafe-system".into(),
            image: "carafe:1".into(),
            image_pull_policy: "IfNotPresent".into(),
            image_pull_secrets: Vec::new(),
            priority_class: "carafe-mount".into(),
            cpu_request: "100m".into(),
            memory_request: "256Mi".into(),
            cpu_limit: String::new(),
            memory_limit: "2Gi".into(),
            log: "info".into(),
            io_threads: 4,
        }
    }

    fn node() -> NodeIdentity {
        NodeIdentity {
            name: "worker-1.example.com".into(),
            uid: "0d5f7f9c".into(),
        }
    }

    fn request() -> VolumeRequest {
        VolumeRequest {
            id: "pvc-5a6c7d8e".into(),
            context: BTreeMap::from([
                (SUB_PATH.into(), "team/data".into()),
                (CLAIM_NAME.into(), "data".into()),
            ]),
            mount_flags: vec!["cache-size=2048".into()],
            staging: "/var/lib/kubelet/plugins/x/globalmount".into(),
            claim: Some(Claim {
                namespace: "team".into(),
                name: "data".into(),
            }),
            secret: VolumeSecret {
                name: "demo".into(),
                metaurl: Secret::new("redis://:hunter2@redis/1"),
                secret_key: Secret::new("s3cr3t"),
                ..VolumeSecret::default()
            },
            ..VolumeRequest::default()
        }
    }

    #[test]
    fn a_dynamic_volume() {
        let plan = plan(&request(), &node(), &config()).unwrap();
        insta::assert_yaml_snapshot!("dynamic_pod", plan.pod);
        insta::assert_yaml_snapshot!("dynamic_arguments", plan.arguments);
    }

    #[test]
    fn a_static_volume_with_a_long_handle_and_no_claim() {
        let request = VolumeRequest {
            id: "Some/Handle With Blanks/".repeat(6),
            claim: None,
            context: BTreeMap::from([(SUB_PATH.into(), "team/data".into())]),
            mount_flags: vec!["ro".into(), "subdir=/shared".into()],
            ..request()
        };
        let plan = plan(&request, &node(), &config()).unwrap();
        insta::assert_yaml_snapshot!("static_pod_metadata", plan.pod.metadata);
        assert!(plan.arguments.read_only);
        assert_eq!(plan.arguments.subdir, "shared/team/data");
        assert!(plan.name.len() <= 63);
    }

    #[test]
    fn the_pod_holds_no_secret() {
        let plan = plan(&request(), &node(), &config()).unwrap();
        let pod = serde_json::to_string(&plan.pod).unwrap();
        assert!(
            !pod.contains("hunter2") && !pod.contains("s3cr3t") && !pod.contains("redis"),
            "{pod}"
        );
    }

    #[test]
    fn a_path_that_leaves_the_file_system_is_refused() {
        let request = VolumeRequest {
            context: BTreeMap::from([(SUB_PATH.into(), "a/../../b".into())]),
            ..request()
        };
        assert!(matches!(
            plan(&request, &node(), &config()),
            Err(PlanError::SubPath(_))
        ));
    }

    #[test]
    fn a_successor_is_the_pod_that_was_planned() {
        let plan = plan(&request(), &node(), &config()).unwrap();
        let mut former = plan.pod.clone();
        // What the API server has added is not its own.
        former.metadata.uid = Some("u".into());
        former.metadata.resource_version = Some("7".into());
        former.spec = None;
        assert_eq!(successor(&former, &node(), &config()), plan.pod);
    }

    #[test]
    fn the_name_depends_on_volume_and_node_only() {
        let other = VolumeRequest {
            mount_flags: vec!["writeback".into()],
            ..request()
        };
        assert_eq!(pod_name(&request(), &node()), pod_name(&other, &node()));
        let unknown_claim = VolumeRequest {
            claim: None,
            ..request()
        };
        assert_eq!(
            pod_name(&request(), &node()),
            pod_name(&unknown_claim, &node())
        );
        let elsewhere = NodeIdentity {
            name: "worker-2".into(),
            ..node()
        };
        assert_ne!(
            pod_name(&request(), &node()),
            pod_name(&request(), &elsewhere)
        );
    }
}
