//! The metadata engine as commands and workers use it.

use std::sync::Arc;

use carafe_api::VolumeSecret;
use carafe_meta::{Admin, Call, ConnectOptions, Meta};
use carafe_types::{Error, Format, Secret};

use crate::failure::Failure;

/// The peer reads this from the session: a release of its own, then ours.
pub(crate) const SESSION_VERSION: &str = concat!("1.3.1+carafe-", env!("CARGO_PKG_VERSION"));

/// The variables that passwords come in, so that they do not show in a process list.
const PASSWORDS: [&str; 2] = ["META_PASSWORD", "SENTINEL_PASSWORD"];

/// The engine that `url` names, with its passwords from the environment.
pub(crate) fn secret_of(url: &str) -> VolumeSecret {
    let given = |name: &str| Some((name.to_owned(), Secret::new(std::env::var(name).ok()?)));
    VolumeSecret {
        metaurl: Secret::new(url),
        envs: PASSWORDS.into_iter().filter_map(given).collect(),
        ..VolumeSecret::default()
    }
}

/// Connects to the engine that `url` names, with passwords from the environment.
pub(crate) async fn connect(url: &str) -> Result<Arc<dyn Meta>, Failure> {
    connect_with(&secret_of(url)).await
}

/// Connects to the engine that a secret names.
pub(crate) async fn connect_with(secret: &VolumeSecret) -> Result<Arc<dyn Meta>, Failure> {
    let admin = open(secret).await?;
    Ok(admin)
}

/// As [`connect`], for administration of a volume that must be formatted.
pub(crate) async fn connect_admin(url: &str) -> Result<(Arc<dyn Admin>, Format), Failure> {
    let meta = open(&secret_of(url)).await?;
    let format = load(meta.as_ref()).await?;
    Ok((meta, format))
}

async fn open(secret: &VolumeSecret) -> Result<Arc<dyn Admin>, Failure> {
    let options = ConnectOptions {
        sentinel_password: secret.sentinel_password(),
        ..ConnectOptions::default()
    };
    let password = secret.meta_password();
    carafe_meta::connect_admin(secret.metaurl.expose(), password.as_ref(), options)
        .await
        .map_err(|error| Failure::Engine(error.to_string()))
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
