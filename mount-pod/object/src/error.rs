//! What a store can answer instead of success. Each text says what to do next
//! and never holds a secret.

/// The result of a store's operation.
pub type Result<T, E = ObjectError> = std::result::Result<T, E>;

/// Why an operation on an object was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// There is no such object.
    #[error("no object {0}")]
    NotFound(String),
    /// The store refused the credentials, or they may not do this.
    #[error(
        "the store refused access ({0}): check access-key and secret-key, and what they may do in the bucket"
    )]
    Denied(String),
    /// The bucket or directory is not there.
    #[error("there is no bucket {0}: create it, or correct the bucket's name")]
    NoBucket(String),
    /// Nobody answers at the store's address.
    #[error("the store is unreachable ({0}): check the endpoint and the network")]
    Unreachable(String),
    /// The store asks to come back later (429, 500, 502, 503, 504).
    #[error("the store is overloaded or failing ({0}): it is asked again until the deadline")]
    Busy(String),
    /// The deadline passed.
    #[error(
        "the store did not answer within {millis} ms ({what}): check the network, or raise the timeout"
    )]
    TimedOut {
        /// What was attempted.
        what: String,
        /// The deadline.
        millis: u64,
    },
    /// The bytes are not those that were stored.
    #[error("object {key} is damaged: {reason}")]
    Corrupt {
        /// The object.
        key: String,
        /// How it was noticed.
        reason: String,
    },
    /// The disk below a `file` store is full.
    #[error("no space left in the store ({0})")]
    NoSpace(String),
    /// Anything else.
    #[error("the store failed: {0}")]
    Other(String),
}

impl ObjectError {
    /// Whether the same request may succeed when it is sent again.
    ///
    /// A damaged object may have been damaged on the way, so it is fetched again.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Busy(_) | Self::TimedOut { .. } | Self::Corrupt { .. } => {
                true
            }
            Self::NotFound(_)
            | Self::Denied(_)
            | Self::NoBucket(_)
            | Self::NoSpace(_)
            | Self::Other(_) => false,
        }
    }
}

/// Why a store cannot be opened from a volume's setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The kind of store is not in this build.
    #[error("storage \"{0}\" is not built in; built in are: {built}", built = crate::BUILT.join(", "))]
    NotBuilt(String),
    /// The bucket's spelling cannot be read.
    #[error("bucket \"{bucket}\": {reason}")]
    Bucket {
        /// The bucket as it was given, without query and user.
        bucket: String,
        /// What is wrong, and how it is spelled right.
        reason: String,
    },
    /// The volume is encrypted.
    #[error(
        "the volume is encrypted ({0}), which this build cannot read yet: mount it with juicefs"
    )]
    Encrypted(String),
    /// The HTTP client could not be made.
    #[error("cannot start an HTTPS client: {0}")]
    Client(String),
    /// The setting's secrets are still sealed.
    #[error("the setting's secrets are sealed: open them first")]
    Sealed,
}
