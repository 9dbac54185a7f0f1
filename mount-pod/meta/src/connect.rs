//! From a URL to an engine.

use std::{path::Path, sync::Arc, time::Duration};

use carafe_types::{Error, Secret};

use crate::{Admin, Meta, client::Client, kv, sqlite};

/// The engines of this build, as the errors list them.
const BUILT: &str =
    "sqlite3://, redis://, rediss://, unix://, postgres://, postgresql://, mysql://, etcd://";
/// JuiceFS's other engines; a build with the feature `tikv` has that one, too.
const KNOWN: [&str; 5] = ["tikv", "badger", "fdb", "memkv", "zk"];

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

/// Opens the engine that `url` names. `password` (`META_PASSWORD`) stands above
/// one in the URL.
pub async fn connect(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Arc<dyn Meta>, ConnectError> {
    let admin = connect_admin(url, password, options).await?;
    Ok(admin)
}

/// As [`connect`], for administration.
pub async fn connect_admin(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Arc<dyn Admin>, ConnectError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| no_scheme(url))?;
    match scheme {
        "sqlite3" => connect_sqlite(rest),
        ours if crate::redis::SCHEMES.contains(&ours) => {
            crate::redis::connect(url, password, options).await
        }
        ours if crate::sql::SCHEMES.contains(&ours) => {
            crate::sql::connect(url, password, options).await
        }
        kv::etcd::SCHEME => kv::etcd::connect(url, password, options).await,
        #[cfg(feature = "tikv")]
        kv::tikv::SCHEME => kv::tikv::connect(url, options).await,
        known if KNOWN.contains(&known) => Err(ConnectError::NotBuilt(known.to_owned())),
        unknown => Err(ConnectError::Unknown(format!("{unknown}://"))),
    }
}

/// A text without a scheme may hold a password: only its start is shown.
fn no_scheme(url: &str) -> ConnectError {
    let shown: String = url
        .chars()
        .take_while(|&char| char.is_ascii_alphanumeric())
        .take(12)
        .collect();
    ConnectError::Unknown(shown)
}

fn connect_sqlite(rest: &str) -> Result<Arc<dyn Admin>, ConnectError> {
    let path = sqlite_path(rest);
    if path.is_empty() {
        return Err(ConnectError::BadUrl(
            "sqlite3:// wants a file: sqlite3:///var/lib/volume.db".into(),
        ));
    }
    let unreachable = |error: Error| ConnectError::Unreachable {
        place: path.to_owned(),
        reason: error.to_string(),
    };
    let engine = sqlite::open(Path::new(path)).map_err(unreachable)?;
    Ok(Arc::new(Client::new(engine)))
}

/// The file in what follows `sqlite3://`.
pub(crate) fn sqlite_path(rest: &str) -> &str {
    rest.split('?').next().unwrap_or_default()
}
