//! What `format` asks of a store before a volume is made on it.

use std::sync::Arc;

use bytes::Bytes;

use crate::{ObjectError, ObjectStore, Result};

/// The object that holds the volume's UUID.
const UUID_KEY: &str = "juicefs_uuid";
/// Where probes are written, as JuiceFS does.
const PROBES: &str = "testing/";

/// Writes, reads and deletes a small object; makes the bucket first if it is missing
/// and the store lets us. That an account may not delete is no failure.
pub async fn check(store: &Arc<dyn ObjectStore>) -> Result<()> {
    let key = format!("{PROBES}{:016x}", rand::random::<u64>());
    let probe = Bytes::copy_from_slice(&rand::random::<[u8; 32]>());
    if let Err(error) = store.put(&key, probe.clone().into()).await {
        let ObjectError::NoBucket(_) = error else {
            return Err(error);
        };
        store.create().await?;
        store.put(&key, probe.clone().into()).await?;
    }
    let found = store.get(&key, None).await?.into_bytes();
    if found != probe {
        return Err(ObjectError::Corrupt {
            key,
            reason: "another content was read than was written".into(),
        });
    }
    if let Err(error) = store.delete(&key).await {
        tracing::warn!(%error, "the store does not let us delete: space will not be freed");
    }
    Ok(())
}

/// Whether no volume's objects are there yet. Probes and empty objects do not count.
pub async fn is_empty(store: &Arc<dyn ObjectStore>) -> Result<bool> {
    let mut after = String::new();
    loop {
        let page = store.list("", &after, 1000).await?;
        if page
            .objects
            .iter()
            .any(|object| object.size > 0 && !object.key.starts_with(PROBES))
        {
            return Ok(false);
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(true),
        }
    }
}

/// Writes the volume's UUID beside its objects.
pub async fn write_uuid(store: &Arc<dyn ObjectStore>, uuid: &str) -> Result<()> {
    store
        .put(UUID_KEY, Bytes::copy_from_slice(uuid.as_bytes()).into())
        .await
}

/// Reads what [`write_uuid`] wrote; `None` if there is none.
pub async fn read_uuid(store: &Arc<dyn ObjectStore>) -> Result<Option<String>> {
    match store.get(UUID_KEY, None).await {
        Ok(object) => Ok(Some(
            String::from_utf8_lossy(&object.into_bytes()).into_owned(),
        )),
        Err(ObjectError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
