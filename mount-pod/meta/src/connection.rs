//! What connecting takes, and why there is no connection, or none with a new login.

use std::time::Duration;

use carafe_types::Secret;

/// The engines of this build, as the errors list them.
const BUILT: &str =
    "sqlite3://, redis://, rediss://, unix://, postgres://, postgresql://, mysql://, etcd://";

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// How long a first answer may take.
    pub timeout: Duration,
    /// The password of Redis's sentinels (`SENTINEL_PASSWORD`), if they want one.
    pub sentinel_password: Option<Secret>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            sentinel_password: None,
        }
    }
}

/// Why there is no engine. The texts hold no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// JuiceFS has this engine, this build does not.
    #[error("the metadata engine {0}:// is not in this build, which has {BUILT}")]
    NotBuilt(String),
    /// Nobody has this engine.
    #[error("{0:?} is no metadata engine: use one of {BUILT}")]
    Unknown(String),
    /// The URL cannot be used.
    #[error("the metadata URL is not usable: {0}")]
    BadUrl(String),
    /// The server refused the password, or wants one.
    #[error("the metadata engine at {place} refused the login: {reason}")]
    Refused {
        /// The server.
        place: String,
        /// What it said.
        reason: String,
    },
    /// The server cannot be reached, or the file cannot be opened.
    #[error("the metadata engine at {place} cannot be reached: {reason}")]
    Unreachable {
        /// The server or file.
        place: String,
        /// What happened.
        reason: String,
    },
}

/// Why a changed login is not in use. The texts hold no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// The URL names another place; nothing changed.
    #[error(
        "the metadata URL now names {named} instead of {place}: metadata cannot move under a mount; correct metaurl, or mount anew"
    )]
    Elsewhere {
        /// Where the client is.
        place: String,
        /// What the URL names.
        named: String,
    },
    /// The URL cannot be used; nothing changed.
    #[error("{0}")]
    Unusable(ConnectError),
    /// The login is not accepted yet. What is connected stays; each new connection
    /// tries the new login first, and the former one after it.
    #[error("the new login is not in use yet: {0}")]
    Pending(ConnectError),
}
