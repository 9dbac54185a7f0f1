//! How far a mount's client has come.

/// How far a mount's client has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No client has connected yet, or it is gone and another is expected.
    Waiting,
    /// A client has connected, and gets nothing before the one that served last has
    /// ended.
    Queued,
    /// A client has the descriptors and is not ready.
    Attached,
    /// A worker serves.
    Ready,
    /// No worker can serve.
    Failed {
        /// As the client says it.
        reason: String,
    },
    /// Nothing is dirty; the mount can go.
    Released,
}

/// Why a mount is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// The client says so.
    #[error("{0}")]
    Failed(String),
    /// Nothing was heard in time.
    #[error("the mount pod {0}")]
    TimedOut(&'static str),
}

impl Phase {
    /// What a mount pod that is waited for has done so far.
    pub(super) fn progress(&self) -> &'static str {
        match self {
            Self::Waiting => {
                "has not connected yet: its image is being pulled, or it does not start"
            }
            Self::Queued => {
                "waits for the process that served this mount before to end: look at the volume's former mount pod"
            }
            Self::Attached => {
                "has connected and is not ready yet: the metadata engine or the store is slow to answer"
            }
            Self::Ready | Self::Failed { .. } | Self::Released => "is changing its state",
        }
    }

    /// Whether it says of a client what is true only while it is connected.
    pub(super) fn needs_a_client(&self) -> bool {
        matches!(self, Self::Queued | Self::Attached | Self::Ready)
    }
}
