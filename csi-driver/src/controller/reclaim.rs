//! Reclaiming deleted volumes' data: bounded rounds over all file systems that the
//! classes of this driver name. What a round does is the background work of every
//! volume: [`carafe_jobs`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use carafe_api::VolumeSecret;
use carafe_jobs::{Budget, Jobs, Report};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::{core::v1::Secret, storage::v1::StorageClass};
use kube::{Api, Client, api::ListParams};
use tokio_util::sync::CancellationToken;

use super::{Elector, Engines, FileSystem};
use crate::api_server::within;

/// What one file system may take of a round: the others wait.
const BUDGET: Budget = Budget {
    step: 1000,
    time: Duration::from_mins(1),
};
/// How many file systems are visited at once.
const AT_ONCE: usize = 8;
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

    /// Several file systems at once: one whose engine is down must not hold up the others.
    async fn round(&self) {
        stream::iter(self.secrets().await)
            .for_each_concurrent(AT_ONCE, |secret| async move { self.visit(&secret).await })
            .await;
    }

    async fn visit(&self, secret: &VolumeSecret) {
        let Ok(system) = self.engines.open(secret, false).await else {
            return;
        };
        let report = reclaim(&system).await;
        if report != Report::default() {
            tracing::info!(
                engine = system.meta.name(),
                ?report,
                "reclaimed deleted data"
            );
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

/// One round of one file system.
pub async fn reclaim(system: &FileSystem) -> Report {
    let jobs = Jobs::new(system.meta.clone(), system.store.clone());
    jobs.round(BUDGET, &CancellationToken::new()).await
}
