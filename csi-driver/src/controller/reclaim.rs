//! Reclaiming deleted volumes' data: bounded rounds over all file systems that the
//! classes of this driver name.
//!
//! A round ends sessions that expired, removes entries of tombstones and of expired trash, takes deleted files
//! apart, and deletes the objects of slices that nothing refers to. The objects go
//! before the engine forgets them: a crash in between repeats a delete.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use carafe_api::VolumeSecret;
use carafe_object::ObjectStore;
use carafe_types::{BlockKey, Error, Format, SliceId, block_count, block_len};
use futures_util::future::join_all;
use k8s_openapi::api::{core::v1::Secret, storage::v1::StorageClass};
use kube::{Api, Client, api::ListParams};

use super::{Elector, Engines, FileSystem};
use crate::api_server::within;

/// Entries and slices in one step.
const STEP: usize = 1000;
/// Steps in one round of one file system.
const STEPS: usize = 50;
/// Objects that are deleted at once.
const DELETIONS: usize = 16;
/// A class names its Secret so.
const SECRET_NAME: &str = "csi.storage.k8s.io/provisioner-secret-name";
const SECRET_NAMESPACE: &str = "csi.storage.k8s.io/provisioner-secret-namespace";

/// Runs the rounds.
pub struct Reclaimer {
    engines: Arc<Engines>,
    client: Client,
    driver: String,
    elector: Elector,
}

impl Reclaimer {
    /// Rounds over the file systems of `driver`'s classes, while `elector` wins.
    pub fn new(engines: Arc<Engines>, client: Client, driver: String, elector: Elector) -> Self {
        Self {
            engines,
            client,
            driver,
            elector,
        }
    }

    /// Runs a round each `interval`, for ever.
    pub async fn run(self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.engines.close_idle();
            match within(self.elector.acquire()).await {
                Ok(true) => self.round().await,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the clean-up's Lease cannot be taken"),
            }
        }
    }

    async fn round(&self) {
        for secret in self.secrets().await {
            let Ok(system) = self.engines.open(&secret, false).await else {
                continue;
            };
            match reclaim(&self.engines, &system).await {
                Ok(0) => {}
                Ok(steps) => {
                    tracing::info!(engine = system.meta.name(), steps, "reclaimed deleted data");
                }
                Err(error) => {
                    tracing::warn!(engine = system.meta.name(), %error, "cannot reclaim deleted data");
                }
            }
        }
    }

    /// The Secrets of the classes, and of what was used lately.
    async fn secrets(&self) -> Vec<VolumeSecret> {
        let mut found: BTreeMap<[u8; 32], VolumeSecret> = BTreeMap::new();
        for class in self.classes().await {
            if class.provisioner == self.driver
                && let Some(secret) = self.secret_of(&class).await
            {
                found.insert(secret.fingerprint(), secret);
            }
        }
        for secret in self.engines.secrets() {
            found.insert(secret.fingerprint(), secret);
        }
        found.into_values().collect()
    }

    async fn classes(&self) -> Vec<StorageClass> {
        let api = Api::<StorageClass>::all(self.client.clone());
        match within(api.list(&ListParams::default())).await {
            Ok(list) => list.items,
            Err(error) => {
                tracing::warn!(%error, "the classes cannot be listed");
                Vec::new()
            }
        }
    }

    async fn secret_of(&self, class: &StorageClass) -> Option<VolumeSecret> {
        let parameters = class.parameters.as_ref()?;
        let (name, namespace) = (
            parameters.get(SECRET_NAME)?,
            parameters.get(SECRET_NAMESPACE)?,
        );
        if name.contains("${") || namespace.contains("${") {
            return None;
        }
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let secret = within(api.get_opt(name)).await.ok()??;
        let text = |bytes: k8s_openapi::ByteString| String::from_utf8(bytes.0).unwrap_or_default();
        let fields: BTreeMap<_, _> = secret
            .data?
            .into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect();
        VolumeSecret::from_fields(&fields).ok()
    }
}

/// One round of one file system; answers how many steps found something to do.
pub async fn reclaim(engines: &Engines, system: &FileSystem) -> Result<usize, Error> {
    system.meta.clean_stale_sessions(&engines.call()).await?;
    for step in 0..STEPS {
        let call = engines.call();
        let removed = system.meta.expire_trash(&call, STEP).await?;
        let apart = system.meta.clean_deleted_files(&call, STEP).await?;
        let slices = system.meta.dead_slices(&call, STEP).await?;
        let gone = delete_slices(system.store.as_ref(), &system.format, &slices).await;
        if !gone.is_empty() {
            // Its own deadline: deleting the objects may have taken the step's.
            system.meta.forget_slices(&engines.call(), &gone).await?;
        }
        if removed + apart + gone.len() == 0 {
            return Ok(step);
        }
    }
    Ok(STEPS)
}

/// Deletes the slices' objects; answers the slices that have none left. The first
/// failure ends the step: a store that is gone is not asked a thousand times.
async fn delete_slices(
    store: &dyn ObjectStore,
    format: &Format,
    slices: &[(SliceId, u32)],
) -> Vec<(SliceId, u32)> {
    let mut gone = Vec::with_capacity(slices.len());
    for some in slices.chunks(DELETIONS) {
        let deletions = some
            .iter()
            .map(|&(slice, size)| delete_slice(store, format, slice, size));
        let deleted = join_all(deletions).await;
        for (slice, deleted) in some.iter().zip(&deleted) {
            match deleted {
                Ok(()) => gone.push(*slice),
                Err(error) => {
                    tracing::warn!(slice = slice.0.0, %error, "an object cannot be deleted");
                }
            }
        }
        if deleted.iter().any(Result::is_err) {
            break;
        }
    }
    gone
}

async fn delete_slice(
    store: &dyn ObjectStore,
    format: &Format,
    slice: SliceId,
    size: u32,
) -> carafe_object::Result<()> {
    let block_size = format.block_bytes();
    for index in 0..block_count(size, block_size) {
        let key = BlockKey {
            slice,
            index,
            size: block_len(size, block_size, index),
        };
        store.delete(&key.object_key(format.hash_prefix)).await?;
    }
    Ok(())
}
