//! Making a volume: store and engine, in the order in which a failure harms nobody.

use std::sync::Arc;

use carafe_meta::{Call, Meta};
use carafe_object::{ObjectError, ObjectStore, check, is_empty, write_uuid};
use carafe_types::{Error, Format};

/// Over what a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formatting {
    /// The engine holds no volume: the store must hold no objects of one either.
    New,
    /// The engine holds this volume, whose setting changes.
    Again,
    /// Whatever the engine holds is given up.
    Replace,
}

/// Why a volume was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FormatFailure {
    /// The store does not take, give or remove objects.
    #[error("{0}")]
    Store(#[from] ObjectError),
    /// The store holds another volume's objects.
    #[error("{0} is not empty: choose another name or bucket, or remove what is there")]
    NotEmpty(String),
    /// The engine does not accept the setting; `Exists` if it holds another volume.
    #[error("{0}")]
    Engine(Error),
}

/// Writes a setting. First it is seen that the store works, which leaves nothing
/// behind, and that a new volume does not begin among another's objects; then the
/// engine decides, since it is asked by one client at a time; the volume's UUID goes
/// into the store only after that, so that a refused setting never marks a bucket.
pub async fn format_volume(
    meta: &dyn Meta,
    store: &Arc<dyn ObjectStore>,
    call: &Call,
    format: &Format,
    how: Formatting,
) -> Result<(), FormatFailure> {
    check(store).await?;
    if how == Formatting::New && !is_empty(store).await? {
        return Err(FormatFailure::NotEmpty(store.describe()));
    }
    meta.format(call, format, how == Formatting::Replace)
        .await
        .map_err(FormatFailure::Engine)?;
    if how != Formatting::Again {
        // The volume is made: a store that fails from now on must not make it look as if
        // it were not.
        if let Err(error) = write_uuid(store, &format.uuid).await {
            tracing::warn!(%error, "the store is not marked with the volume's UUID");
        }
    }
    Ok(())
}
