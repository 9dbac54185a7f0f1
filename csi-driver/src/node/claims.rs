//! Which claim a volume belongs to, and events on it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api, Client, Resource,
    api::ListParams,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use super::plan::Claim;
use crate::{
    api_server::within,
    attributes::{CLAIM_NAME, CLAIM_NAMESPACE},
};

/// What Kubernetes knows about claims.
#[async_trait]
pub trait Claims: Send + Sync + 'static {
    /// The claim of a volume; `None` if it has none or it cannot be found out.
    async fn claim_of(
        &self,
        driver: &str,
        volume: &str,
        context: &BTreeMap<String, String>,
    ) -> Option<Claim>;
    /// Tells the claim's owner, as a warning event. Best effort.
    async fn warn(&self, claim: &Claim, reason: &str, message: &str);
}

/// The adapter to a real API server.
#[derive(Clone)]
pub struct KubeClaims {
    client: Client,
    recorder: Recorder,
}

impl KubeClaims {
    /// Events say that they come from `driver` on `node`.
    pub fn new(client: Client, driver: &str, node: &str) -> Self {
        let reporter = Reporter {
            controller: driver.to_owned(),
            instance: Some(node.to_owned()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
        }
    }

    /// A PV's name is often its handle; if it is not, all are looked through. Only
    /// volumes that were made by hand come this way, once a stage.
    async fn volume(
        &self,
        driver: &str,
        id: &str,
    ) -> Result<Option<PersistentVolume>, kube::Error> {
        let api = Api::<PersistentVolume>::all(self.client.clone());
        let ours = |volume: &PersistentVolume| {
            let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
            csi.is_some_and(|csi| csi.driver == driver && csi.volume_handle == id)
        };
        if is_object_name(id)
            && let Some(volume) = api.get_opt(id).await?.filter(ours)
        {
            return Ok(Some(volume));
        }
        Ok(api
            .list(&ListParams::default())
            .await?
            .items
            .into_iter()
            .find(ours))
    }
}

fn is_object_name(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 253
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
}

#[async_trait]
impl Claims for KubeClaims {
    async fn claim_of(
        &self,
        driver: &str,
        volume: &str,
        context: &BTreeMap<String, String>,
    ) -> Option<Claim> {
        if let (Some(namespace), Some(name)) =
            (context.get(CLAIM_NAMESPACE), context.get(CLAIM_NAME))
        {
            return Some(Claim {
                namespace: namespace.clone(),
                name: name.clone(),
            });
        }
        let found = within(self.volume(driver, volume)).await;
        let found = found
            .inspect_err(|error| tracing::warn!(%error, volume, "the volume's claim is not known"))
            .ok()??;
        let claim = found.spec?.claim_ref?;
        Some(Claim {
            namespace: claim.namespace?,
            name: claim.name?,
        })
    }

    async fn warn(&self, claim: &Claim, reason: &str, message: &str) {
        if let Err(error) = within(self.publish(claim, reason, message)).await {
            tracing::warn!(%error, "an event could not be written");
        }
    }
}

impl KubeClaims {
    async fn publish(&self, claim: &Claim, reason: &str, message: &str) -> Result<(), kube::Error> {
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &claim.namespace);
        // Without the uid `kubectl describe` does not show the event.
        let uid = match api.get_metadata_opt(&claim.name).await {
            Ok(found) => found.and_then(|found| found.metadata.uid),
            Err(_) => None,
        };
        let reference = ObjectReference {
            api_version: Some(PersistentVolumeClaim::api_version(&()).into_owned()),
            kind: Some(PersistentVolumeClaim::kind(&()).into_owned()),
            namespace: Some(claim.namespace.clone()),
            name: Some(claim.name.clone()),
            uid,
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(message.chars().take(1000).collect()),
            action: "Mount".to_owned(),
            secondary: None,
        };
        self.recorder.publish(&event, &reference).await
    }
}
