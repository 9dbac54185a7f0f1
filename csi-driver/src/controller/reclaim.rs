//! Reclaiming deleted volumes' data: bounded rounds over all file systems that classes
//! and PersistentVolumes of this driver name. What a round does is the background work of
//! every volume: [`carafe_jobs`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use carafe_api::VolumeSecret;
use carafe_jobs::{Budget, Jobs, Report};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, Secret, SecretReference},
    storage::v1::StorageClass,
};
use kube::{Api, Client, api::ListParams};
use serde::de::DeserializeOwned;
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
                Ok(true) => self.round(self.secrets().await).await,
                // What this replica has used, perhaps nobody else knows of: volumes whose
                // Secret no class and no PersistentVolume names any more.
                Ok(false) => self.round(self.engines.secrets()).await,
                Err(error) => tracing::warn!(%error, "the clean-up's Lease cannot be taken"),
            }
        }
    }

    /// Several file systems at once: one whose engine is down must not hold up the others.
    async fn round(&self, secrets: Vec<VolumeSecret>) {
        stream::iter(secrets)
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

    /// The Secrets of the classes and the PersistentVolumes, and of what was used lately.
    async fn secrets(&self) -> Vec<VolumeSecret> {
        let mut named: BTreeSet<Named> = BTreeSet::new();
        named.extend(
            self.all::<StorageClass>()
                .await
                .iter()
                .filter_map(|class| named_by_class(class, &self.driver)),
        );
        let volumes = self.all::<PersistentVolume>().await;
        named.extend(
            volumes
                .iter()
                .flat_map(|volume| named_by_volume(volume, &self.driver)),
        );
        let read = stream::iter(named).map(|named| self.read(named));
        let read: Vec<_> = read.buffer_unordered(AT_ONCE).collect().await;
        let used = self.engines.secrets();
        let all = read.into_iter().flatten().chain(used);
        let distinct: BTreeMap<_, _> = all.map(|secret| (secret.fingerprint(), secret)).collect();
        distinct.into_values().collect()
    }

    async fn all<K>(&self) -> Vec<K>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api = Api::<K>::all(self.client.clone());
        match within(api.list(&ListParams::default())).await {
            Ok(list) => list.items,
            Err(error) => {
                let kind = K::kind(&());
                tracing::warn!(%error, %kind, "what names file systems cannot be listed");
                Vec::new()
            }
        }
    }

    async fn read(&self, (namespace, name): Named) -> Option<VolumeSecret> {
        let api = Api::<Secret>::namespaced(self.client.clone(), &namespace);
        let secret = within(api.get_opt(&name)).await.ok()??;
        let text = |bytes: k8s_openapi::ByteString| String::from_utf8(bytes.0).unwrap_or_default();
        let fields: BTreeMap<_, _> = secret
            .data?
            .into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect();
        VolumeSecret::from_fields(&fields).ok()
    }
}

/// A Secret's namespace and name.
type Named = (String, String);

/// The Secrets of a volume of this driver.
fn named_by_volume(volume: &PersistentVolume, driver: &str) -> Vec<Named> {
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    let csi = csi.filter(|csi| csi.driver == driver);
    let references = csi.map(|csi| [&csi.node_stage_secret_ref, &csi.node_publish_secret_ref]);
    let named =
        |reference: &SecretReference| Some((reference.namespace.clone()?, reference.name.clone()?));
    let references = references.into_iter().flatten().flatten();
    references.filter_map(named).collect()
}

/// The Secret of a class of this driver, unless it is another one for each claim: then the
/// volumes name it.
fn named_by_class(class: &StorageClass, driver: &str) -> Option<Named> {
    if class.provisioner != driver {
        return None;
    }
    let parameters = class.parameters.as_ref()?;
    let named = (
        parameters.get(SECRET_NAMESPACE)?.clone(),
        parameters.get(SECRET_NAME)?.clone(),
    );
    let is_template = named.0.contains("${") || named.1.contains("${");
    (!is_template).then_some(named)
}

/// One round of one file system.
pub async fn reclaim(system: &FileSystem) -> Report {
    let jobs = Jobs::new(system.meta.clone(), system.store.clone());
    jobs.round(BUDGET, &CancellationToken::new()).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DRIVER: &str = "csi.carafe.io";

    fn named(namespace: &str, name: &str) -> Named {
        (namespace.into(), name.into())
    }

    #[test]
    fn a_class_names_one_secret_unless_it_is_a_template() {
        for (driver, name, expected) in [
            (DRIVER, "one", Some(named("apps", "one"))),
            (DRIVER, "${pvc.name}", None),
            ("another.io", "one", None),
        ] {
            let class = json!({
                "metadata": {"name": "class"},
                "provisioner": driver,
                "parameters": {SECRET_NAME: name, SECRET_NAMESPACE: "apps"},
            });
            let class = serde_json::from_value(class).unwrap();
            assert_eq!(named_by_class(&class, DRIVER), expected, "{driver} {name}");
        }
    }

    #[test]
    fn a_volume_names_what_it_is_staged_and_published_with() {
        for (driver, expected) in [
            (
                DRIVER,
                vec![named("apps", "staged"), named("apps", "published")],
            ),
            ("another.io", vec![]),
        ] {
            let volume = json!({
                "metadata": {"name": "volume"},
                "spec": {"csi": {
                    "driver": driver,
                    "volumeHandle": "volume",
                    "nodeStageSecretRef": {"namespace": "apps", "name": "staged"},
                    "nodePublishSecretRef": {"namespace": "apps", "name": "published"},
                }},
            });
            let volume = serde_json::from_value(volume).unwrap();
            assert_eq!(named_by_volume(&volume, DRIVER), expected, "{driver}");
        }
    }
}
