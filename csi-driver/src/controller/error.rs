//! What each controller call can answer instead of success, and its gRPC code.
//!
//! The provisioner asks again whatever the code is, with growing pauses. It takes
//! `Canceled`, `DeadlineExceeded`, `Unavailable`, `Aborted` and `ResourceExhausted` as
//! "perhaps done", and may then make the volume elsewhere only after it was deleted
//! here; every other code promises that nothing was made.

use carafe_api::SecretError;
use carafe_meta::{ConnectError, VolumeError};
use carafe_object::ObjectError;
use carafe_types::Error;
use tonic::{Code, Status};

use super::{engines::OpenFailure, parameters::ParameterError, pattern::PatternError};
use crate::lock::Busy;

/// Why a volume was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A field that the specification demands is missing.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// Another call about the volume is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The capability is not one that this driver has.
    #[error("{0}")]
    Capability(&'static str),
    /// No Secret came.
    #[error(
        "the StorageClass names no Secret, or the Secret is empty: set csi.storage.k8s.io/provisioner-secret-name and -namespace in its parameters"
    )]
    NoSecret,
    /// The size makes no sense.
    #[error("{0}")]
    Size(&'static str),
    /// The option `subdir` leaves the file system.
    #[error("the path {0:?} is not allowed: correct subdir in mountOptions")]
    Subdir(String),
    /// A volume shall be made from another.
    #[error(
        "volumes from snapshots or other volumes are not possible with this version: create an empty claim and copy"
    )]
    Source,
    /// The Secret cannot be used.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// The class cannot be used.
    #[error("{0}")]
    Parameter(#[from] ParameterError),
    /// The mount options of the class cannot be used.
    #[error("{0}: correct mountOptions of the StorageClass")]
    Option(#[from] carafe_api::OptionError),
    /// The pattern gives no path.
    #[error("{0}")]
    Pattern(#[from] PatternError),
    /// The claim's labels could not be read.
    #[error("the claim {claim} cannot be read for its labels: {reason}")]
    Claim {
        /// `namespace/name`.
        claim: String,
        /// What the API server said.
        reason: String,
    },
    /// The file system cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenFailure),
    /// The volume cannot be made in it.
    #[error("{0}")]
    Volume(#[from] VolumeError),
}

impl From<CreateError> for Status {
    fn from(error: CreateError) -> Self {
        let code = match &error {
            CreateError::Missing(_)
            | CreateError::Capability(_)
            | CreateError::NoSecret
            | CreateError::Source
            | CreateError::Subdir(_)
            | CreateError::Secret(_)
            | CreateError::Parameter(_)
            | CreateError::Option(_)
            | CreateError::Pattern(_) => Code::InvalidArgument,
            CreateError::Size(_) => Code::OutOfRange,
            CreateError::Busy(_) => Code::Aborted,
            CreateError::Claim { .. } => Code::Unavailable,
            CreateError::Open(error) => open_code(error),
            CreateError::Volume(error) => volume_code(error),
        };
        Status::new(code, error.to_string())
    }
}

/// Why a volume is still there.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// A field that the specification demands is missing.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// Another call about the volume is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// No Secret came.
    #[error(
        "the volume {0} has no Secret to delete it with: make the one again that the PersistentVolume's annotations name, or annotate the PersistentVolume with volume.kubernetes.io/provisioner-deletion-secret-name and -namespace"
    )]
    NoSecret(String),
    /// The Secret cannot be used.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// The file system cannot be opened.
    #[error("{0}")]
    Open(OpenFailure),
    /// It cannot be deleted.
    #[error("{0}")]
    Volume(#[from] VolumeError),
}

impl From<DeleteError> for Status {
    fn from(error: DeleteError) -> Self {
        let code = match &error {
            DeleteError::Missing(_) | DeleteError::NoSecret(_) | DeleteError::Secret(_) => {
                Code::InvalidArgument
            }
            DeleteError::Open(error) => open_code(error),
            DeleteError::Busy(_) => Code::Aborted,
            DeleteError::Volume(error) => volume_code(error),
        };
        Status::new(code, error.to_string())
    }
}

/// Why a volume did not grow.
#[derive(Debug, thiserror::Error)]
pub enum ExpandError {
    /// A field that the specification demands is missing.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// Another call about the volume is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The size makes no sense.
    #[error("{0}")]
    Size(&'static str),
    /// The capability is not one that this driver has.
    #[error("{0}")]
    Capability(&'static str),
    /// No Secret came.
    #[error(
        "the volume {0} has no Secret to grow it with, or it is empty: set csi.storage.k8s.io/controller-expand-secret-name and -namespace in the StorageClass"
    )]
    NoSecret(String),
    /// The Secret cannot be used.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// The file system cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenFailure),
    /// It cannot be changed.
    #[error("{0}")]
    Volume(#[from] VolumeError),
}

impl From<ExpandError> for Status {
    fn from(error: ExpandError) -> Self {
        let code = match &error {
            ExpandError::Missing(_)
            | ExpandError::Capability(_)
            | ExpandError::NoSecret(_)
            | ExpandError::Secret(_) => Code::InvalidArgument,
            ExpandError::Size(_) => Code::OutOfRange,
            ExpandError::Busy(_) => Code::Aborted,
            ExpandError::Open(error) => open_code(error),
            ExpandError::Volume(error) => volume_code(error),
        };
        Status::new(code, error.to_string())
    }
}

/// Why a volume's capabilities are not known.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// A field that the specification demands is missing.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// The Secret cannot be used.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// The file system cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenFailure),
    /// There is no such volume.
    #[error("there is no volume {0}")]
    NotFound(String),
    /// The engine failed.
    #[error("{0}")]
    Meta(Error),
}

impl From<ValidateError> for Status {
    fn from(error: ValidateError) -> Self {
        let code = match &error {
            ValidateError::Missing(_) | ValidateError::Secret(_) => Code::InvalidArgument,
            ValidateError::Open(error) => open_code(error),
            ValidateError::NotFound(_) => Code::NotFound,
            ValidateError::Meta(error) => meta_code(error),
        };
        Status::new(code, error.to_string())
    }
}

fn open_code(error: &OpenFailure) -> Code {
    match error {
        OpenFailure::Secret(_) | OpenFailure::StoreOpen(_) => Code::InvalidArgument,
        OpenFailure::Connect(error) => match error {
            ConnectError::NotBuilt(_) | ConnectError::Unknown(_) | ConnectError::BadUrl(_) => {
                Code::InvalidArgument
            }
            ConnectError::Refused { .. } => Code::Unauthenticated,
            ConnectError::Unreachable { .. } => Code::Unavailable,
        },
        OpenFailure::Unformatted(_)
        | OpenFailure::OtherName { .. }
        | OpenFailure::NotEmpty(..)
        | OpenFailure::Format(_) => Code::FailedPrecondition,
        OpenFailure::Store(error) => match error {
            ObjectError::Denied(_) => Code::PermissionDenied,
            ObjectError::NotFound(_)
            | ObjectError::NoBucket(_)
            | ObjectError::Corrupt { .. }
            | ObjectError::Other(_) => Code::FailedPrecondition,
            ObjectError::NoSpace(_) => Code::ResourceExhausted,
            ObjectError::Unreachable(_) | ObjectError::Busy(_) => Code::Unavailable,
            ObjectError::TimedOut { .. } => Code::DeadlineExceeded,
        },
        OpenFailure::Meta { error, .. } => meta_code(error),
        OpenFailure::TimedOut { .. } => Code::DeadlineExceeded,
    }
}

fn volume_code(error: &VolumeError) -> Code {
    match error {
        // The specification: the name exists with other arguments.
        VolumeError::Different { .. } => Code::AlreadyExists,
        VolumeError::PathTaken { .. } => Code::FailedPrecondition,
        VolumeError::BadPath(_) => Code::InvalidArgument,
        VolumeError::NotFound(_) => Code::NotFound,
        VolumeError::Engine(error) => meta_code(error),
    }
}

fn meta_code(error: &Error) -> Code {
    match error {
        Error::TimedOut(_) => Code::DeadlineExceeded,
        Error::Io(_) | Error::Interrupted | Error::WouldBlock => Code::Unavailable,
        Error::NoSpace | Error::QuotaExceeded | Error::TooManyLinks => Code::ResourceExhausted,
        Error::NotFound => Code::NotFound,
        Error::PermissionDenied | Error::NotPermitted | Error::ReadOnly => Code::PermissionDenied,
        Error::Stale(_) | Error::NotDirectory | Error::Exists => Code::FailedPrecondition,
        Error::Invalid | Error::NameTooLong => Code::InvalidArgument,
        Error::IsDirectory
        | Error::NotEmpty
        | Error::TooLarge
        | Error::CrossDevice
        | Error::BadHandle
        | Error::NoAttribute
        | Error::OutOfRange
        | Error::NoSuchOffset
        | Error::Deadlock
        | Error::Unsupported
        | Error::NotImplemented => Code::Internal,
    }
}
