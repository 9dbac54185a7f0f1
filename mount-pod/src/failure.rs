//! What ends a command, and the exit status that says it to scripts.

use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An argument is wrong; the text says which and what would be right.
    #[error("{0}")]
    Usage(String),
    /// The metadata engine cannot be used.
    #[error("metadata engine: {0}")]
    Engine(String),
    /// The object store cannot be used.
    #[error("object store: {0}")]
    Store(String),
    /// The mount cannot be made, or ended badly.
    #[error("mount: {0}")]
    Mount(String),
    /// A check found damage that is not repaired, or work was not done whole.
    #[error("{0}")]
    Damage(String),
    /// The operating system refused.
    #[error("{0}: {1}")]
    System(String, #[source] std::io::Error),
}

impl Failure {
    /// 2: usage; 3: engine; 4: store; 5: mount; 6: damage; 1: the system.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::System(..) => 1,
            Self::Usage(_) => 2,
            Self::Engine(_) => 3,
            Self::Store(_) => 4,
            Self::Mount(_) => 5,
            Self::Damage(_) => 6,
        })
    }

    /// Wraps an error of the operating system with what was being done.
    pub(crate) fn system(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        |error| Self::System(doing.into(), error)
    }
}

impl From<carafe_api::handover::HandoverError> for Failure {
    fn from(error: carafe_api::handover::HandoverError) -> Self {
        Self::Mount(format!("handover: {error}"))
    }
}

impl From<carafe_types::Error> for Failure {
    fn from(error: carafe_types::Error) -> Self {
        Self::Engine(error.to_string())
    }
}
