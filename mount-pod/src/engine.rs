//! The metadata engine as commands and workers use it.

use std::sync::Arc;

use carafe_meta::{Admin, Call, Meta};
use carafe_types::{Error, Format, Secret};

use crate::failure::Failure;

/// The peer reads this from the session: a release of its own, then ours.
pub(crate) const SESSION_VERSION: &str = concat!("1.3.1+carafe-", env!("CARGO_PKG_VERSION"));

/// Connects to the engine that `url` names; its password may come from
/// `META_PASSWORD`, so that it does not show in a process list.
pub(crate) async fn connect(url: &str) -> Result<Arc<dyn Meta>, Failure> {
    let password = std::env::var("META_PASSWORD").ok().map(Secret::new);
    connect_with(url, password.as_ref()).await
}

/// Connects with a password from elsewhere.
pub(crate) async fn connect_with(
    url: &str,
    password: Option<&Secret>,
) -> Result<Arc<dyn Meta>, Failure> {
    let options = carafe_meta::ConnectOptions::default();
    carafe_meta::connect(url, password, options)
        .await
        .map_err(|error| Failure::Engine(error.to_string()))
}

/// As [`connect`], for administration of a volume that must be formatted.
pub(crate) async fn connect_admin(url: &str) -> Result<(Arc<dyn Admin>, Format), Failure> {
    let password = std::env::var("META_PASSWORD").ok().map(Secret::new);
    let options = carafe_meta::ConnectOptions::default();
    let meta = carafe_meta::connect_admin(url, password.as_ref(), options)
        .await
        .map_err(|error| Failure::Engine(error.to_string()))?;
    let format = load(meta.as_ref()).await?;
    Ok((meta, format))
}

/// The setting, or `None` if the engine is not formatted.
pub(crate) async fn load_if_formatted(meta: &dyn Meta) -> Result<Option<Format>, Failure> {
    match meta.load(&Call::internal()).await {
        Ok(format) => Ok(Some(format)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The setting of an engine that must be formatted, and that this build can serve.
pub(crate) async fn load(meta: &dyn Meta) -> Result<Format, Failure> {
    let format = load_if_formatted(meta).await?.ok_or_else(|| {
        Failure::Engine(format!(
            "{} is not formatted: run `carafe format META-URL NAME` first",
            meta.name()
        ))
    })?;
    format
        .check()
        .map_err(|error| Failure::Engine(error.to_string()))?;
    Ok(format)
}

/// What the engine promises less than a user would expect, a sentence each.
pub(crate) async fn warnings(meta: &dyn Meta) -> Result<Vec<String>, Failure> {
    Ok(meta.preflight(&Call::internal()).await?)
}
