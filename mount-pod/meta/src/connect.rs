//! From a URL to an engine.

use std::sync::Arc;

use carafe_types::Secret;

use crate::{Admin, ConnectError, ConnectOptions, Meta, kv, sqlite};

/// JuiceFS's other engines; a build with the feature `tikv` has that one, too.
const KNOWN: [&str; 5] = ["tikv", "badger", "fdb", "memkv", "zk"];

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
        "sqlite3" => sqlite::connect(rest),
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
