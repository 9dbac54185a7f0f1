//! What each node call can answer instead of success, and its gRPC code.
//!
//! Kubelet takes `Canceled`, `DeadlineExceeded`, `Unavailable`, `Aborted` and
//! `ResourceExhausted` as "perhaps done": it asks again, and unstages before it gives
//! up. All other codes are "not done": nothing may be left behind them.

use std::io;

use carafe_api::SecretError;
use tonic::{Code, Status};

use super::{plan::PlanError, pods::PodsError};
use crate::{keeper::NotServed, lock::Busy, mount::MountError};

/// Why a volume is not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A field that the specification demands is missing.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// Another call about the volume is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The capability is not one that this driver has.
    #[error("{0}")]
    Capability(&'static str),
    /// The Secret cannot be used.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// Options or paths are wrong.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The options name a cache directory that the node plugin does not have.
    #[error(
        "cache-dir={wanted}: the node plugin may use {allowed}; add the directory to node.cacheDirs of the chart"
    )]
    CacheDir {
        /// As the options say.
        wanted: String,
        /// As the plugin was told.
        allowed: String,
    },
    /// The mount pod could not be made.
    #[error("{0}")]
    Pods(#[from] PodsError),
    /// The node refuses to run the mount pod.
    #[error("{0}")]
    Trouble(String),
    /// The kernel refused the mount.
    #[error("{0}")]
    Mount(#[from] MountError),
    /// The keeper's socket could not be made.
    #[error("cannot reach the mount pod's directory: {0}")]
    Socket(String),
    /// The client says why it cannot serve.
    #[error("cannot mount volume {volume}: {reason}")]
    NotServed {
        /// The volume.
        volume: String,
        /// As the client says it.
        reason: String,
    },
    /// It takes longer than kubelet waits.
    #[error("volume {volume} is not mounted yet: the mount pod {pod} {progress}")]
    NotYet {
        /// The volume.
        volume: String,
        /// The pod that is waited for.
        pod: String,
        /// How far it is.
        progress: String,
    },
    /// Something on the node failed.
    #[error("{step}: {source}")]
    Io {
        /// What was attempted.
        step: &'static str,
        /// What happened.
        source: io::Error,
    },
}

impl From<StageError> for Status {
    fn from(error: StageError) -> Self {
        let code = match &error {
            StageError::Missing(_)
            | StageError::Capability(_)
            | StageError::Secret(_)
            | StageError::Plan(_)
            | StageError::CacheDir { .. } => Code::InvalidArgument,
            StageError::Busy(_) => Code::Aborted,
            // The pod may exist: kubelet asks again, which finds it.
            StageError::Pods(PodsError::Api { .. }) => Code::Unavailable,
            // All was taken back.
            StageError::NotServed { .. }
            | StageError::Trouble(_)
            | StageError::Pods(PodsError::Taken(_)) => Code::FailedPrecondition,
            StageError::NotYet { .. } => Code::DeadlineExceeded,
            StageError::Mount(_) | StageError::Socket(_) | StageError::Io { .. } => Code::Internal,
        };
        Status::new(code, error.to_string())
    }
}

/// Why a volume is still staged.
#[derive(Debug, thiserror::Error)]
pub enum UnstageError {
    /// A field that the specification demands is missing.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// Another call about the volume is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The client has not written back all that it holds.
    #[error(
        "volume {volume} is not unmounted: the mount pod {pod} {reason}; to give up what it holds, delete that pod"
    )]
    NotReleased {
        /// The volume.
        volume: String,
        /// The pod.
        pod: String,
        /// Why.
        reason: String,
    },
    /// The kernel refused to unmount.
    #[error("cannot unmount volume {volume}: {source}")]
    Unmount {
        /// The volume.
        volume: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The mount table could not be read, or a directory not be found.
    #[error("cannot look at volume {volume}'s mount: {source}")]
    Look {
        /// The volume.
        volume: String,
        /// What happened.
        source: io::Error,
    },
    /// The mount pod could not be deleted.
    #[error("{0}")]
    Pods(#[from] PodsError),
}

impl UnstageError {
    pub(super) fn not_released(volume: &str, pod: &str, error: &NotServed) -> Self {
        let reason = match error {
            NotServed::Failed(reason) => format!("says: {reason}"),
            NotServed::TimedOut(progress) => (*progress).to_owned(),
        };
        Self::NotReleased {
            volume: volume.to_owned(),
            pod: pod.to_owned(),
            reason,
        }
    }
}

impl From<UnstageError> for Status {
    fn from(error: UnstageError) -> Self {
        let code = match &error {
            UnstageError::Missing(_) => Code::InvalidArgument,
            UnstageError::Busy(_) => Code::Aborted,
            UnstageError::NotReleased { .. } => Code::DeadlineExceeded,
            UnstageError::Unmount { .. } | UnstageError::Look { .. } => Code::Internal,
            UnstageError::Pods(_) => Code::Unavailable,
        };
        Status::new(code, error.to_string())
    }
}

/// Why a volume is not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A field that the specification demands is missing.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// Another call about the volume is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The volume is not staged, and this call has no Secret to stage it with.
    #[error(
        "volume {0} is not mounted at its staging path: give the volume a nodeStageSecretRef or a nodePublishSecretRef"
    )]
    NotStaged(String),
    /// The volume is for one pod, and another has it.
    #[error(
        "volume {0} is ReadWriteOncePod and another pod on this node uses it: delete that pod first"
    )]
    InUse(String),
    /// Staging it now failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The target cannot be made or bound.
    #[error("cannot mount volume {volume} at its target: {source}")]
    Target {
        /// The volume.
        volume: String,
        /// What happened.
        source: io::Error,
    },
}

impl From<PublishError> for Status {
    fn from(error: PublishError) -> Self {
        let code = match error {
            PublishError::Stage(stage) => return stage.into(),
            PublishError::Missing(_) => Code::InvalidArgument,
            PublishError::Busy(_) => Code::Aborted,
            PublishError::NotStaged(_) | PublishError::InUse(_) => Code::FailedPrecondition,
            PublishError::Target { .. } => Code::Internal,
        };
        Status::new(code, error.to_string())
    }
}

/// Why a target is still there.
#[derive(Debug, thiserror::Error)]
pub enum UnpublishError {
    /// A field that the specification demands is missing.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// Another call about the volume is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The kernel refused.
    #[error("cannot unmount the target of volume {volume}: {source}")]
    Target {
        /// The volume.
        volume: String,
        /// What happened.
        source: io::Error,
    },
}

impl From<UnpublishError> for Status {
    fn from(error: UnpublishError) -> Self {
        let code = match &error {
            UnpublishError::Missing(_) => Code::InvalidArgument,
            UnpublishError::Busy(_) => Code::Aborted,
            UnpublishError::Target { .. } => Code::Internal,
        };
        Status::new(code, error.to_string())
    }
}

/// Why there are no statistics.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// A field that the specification demands is missing.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// Nothing is mounted there.
    #[error("volume {0} is not mounted at that path")]
    NotMounted(String),
    /// The mount table could not be read.
    #[error("cannot read the mount table: {0}")]
    Table(#[source] io::Error),
}

impl From<StatsError> for Status {
    fn from(error: StatsError) -> Self {
        let code = match &error {
            StatsError::Missing(_) => Code::InvalidArgument,
            StatsError::NotMounted(_) => Code::NotFound,
            StatsError::Table(_) => Code::Internal,
        };
        Status::new(code, error.to_string())
    }
}
