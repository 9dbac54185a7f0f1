//! A claim's labels and annotations, for path patterns.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, Client};
use tonic::async_trait;

use super::pattern::Tags;
use crate::api_server::within;

/// Where labels and annotations of claims come from.
#[async_trait]
pub trait ClaimTags: Send + Sync + 'static {
    /// The claim's; the error says why not, for a person.
    async fn tags(&self, namespace: &str, claim: &str) -> Result<Tags, String>;
}

/// The adapter to a real API server.
#[derive(Clone)]
pub struct KubeClaimTags(pub Client);

#[async_trait]
impl ClaimTags for KubeClaimTags {
    async fn tags(&self, namespace: &str, claim: &str) -> Result<Tags, String> {
        let api = Api::<PersistentVolumeClaim>::namespaced(self.0.clone(), namespace);
        let found = within(api.get_metadata(claim)).await;
        let found = found.map_err(|error| error.to_string())?;
        Ok(Tags {
            labels: found.metadata.labels.unwrap_or_default(),
            annotations: found.metadata.annotations.unwrap_or_default(),
        })
    }
}
