//! Mount pods in Kubernetes: the port ([`Pods`]) and its adapter ([`KubePods`]).

use std::time::Duration;

use async_trait::async_trait;
use carafe_api::labels;
use futures_util::{StreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
    runtime::{wait::await_condition, watcher::watch_object},
};

use super::departures::{departures, has_ended};
use crate::api_server::{RequestError, within};

/// A pod that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// Its name.
    pub name: String,
    /// Its uid, which names its directory on the node.
    pub uid: String,
}

/// How a pod came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It was made by this call.
    Made(PodRef),
    /// It was there.
    Found(PodRef),
}

impl Ensured {
    /// The pod.
    pub fn pod(self) -> PodRef {
        match self {
            Self::Made(pod) | Self::Found(pod) => pod,
        }
    }
}

/// What the API server answered instead of doing it.
#[derive(Debug, thiserror::Error)]
pub enum PodsError {
    /// It refused or failed.
    #[error("the API server did not {action} the mount pod {pod}: {reason}")]
    Api {
        /// What was wanted.
        action: &'static str,
        /// Which pod.
        pod: String,
        /// Its answer.
        reason: String,
    },
    /// Another volume's pod has the name.
    #[error("the mount pod {0} exists for another volume: delete it")]
    Taken(String),
}

/// The mount pods of this node. Waits that end only with the cluster's state
/// (`ensure`, `wait_gone`, `trouble`) are bounded by the caller; single requests by the
/// adapter.
#[async_trait]
pub trait Pods: Send + Sync + 'static {
    /// Makes the pod, or finds the one that was made for the same volume. One that has
    /// ended is replaced; one that was told to end serves until it is released.
    async fn ensure(&self, pod: &Pod) -> Result<Ensured, PodsError>;
    /// Deletes the pod, giving it `grace` seconds; one that is not there is fine.
    async fn delete(&self, pod: &PodRef, grace: u32) -> Result<(), PodsError>;
    /// Waits until the pod is gone.
    async fn wait_gone(&self, pod: &PodRef) -> Result<(), PodsError>;
    /// The volume's pod, if there is one.
    async fn find(&self, name: &str) -> Result<Option<PodRef>, PodsError>;
    /// All mount pods of this node.
    async fn list(&self) -> Result<Vec<Pod>, PodsError>;
    /// Answers why the pod will not start, as soon as that is known; never if it does.
    async fn trouble(&self, pod: &PodRef) -> String;
    /// Each mount pod of this node that ends or goes, from now on.
    fn departures(&self) -> BoxStream<'static, Pod>;
}

/// The adapter to a real API server.
#[derive(Clone)]
pub struct KubePods {
    api: Api<Pod>,
    node: String,
}

impl KubePods {
    /// The mount pods of `node` in `namespace`.
    pub fn new(client: Client, namespace: &str, node: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            node: node.to_owned(),
        }
    }

    /// What the labels of this node's mount pods say.
    fn selector(&self) -> String {
        let (node, _) = labels::label_value(&self.node);
        let (name, value) = (labels::NAME, labels::MOUNT_POD);
        format!("{name}={value},{}={node}", labels::NODE)
    }

    async fn get(&self, name: &str) -> Result<Option<Pod>, PodsError> {
        let found = within(self.api.get_opt(name)).await;
        found.map_err(|error| failed("read", name, &error))
    }
}

/// Between two attempts to make a pod.
const PAUSE: Duration = Duration::from_millis(100);

#[async_trait]
impl Pods for KubePods {
    async fn ensure(&self, pod: &Pod) -> Result<Ensured, PodsError> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        loop {
            match within(self.api.create(&PostParams::default(), pod)).await {
                Ok(made) => return Ok(Ensured::Made(reference(&made))),
                Err(RequestError::Answered(kube::Error::Api(status)))
                    if status.is_already_exists() => {}
                Err(error) => return Err(failed("create", &name, &error)),
            }
            let Some(found) = self.get(&name).await? else {
                // It went in between; not asked again as fast as the server answers.
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            if volume_of(&found) != volume_of(pod) {
                return Err(PodsError::Taken(name));
            }
            if !has_ended(&found) {
                return Ok(Ensured::Found(reference(&found)));
            }
            let found = reference(&found);
            self.delete(&found, 0).await?;
            self.wait_gone(&found).await?;
        }
    }

    async fn delete(&self, pod: &PodRef, grace: u32) -> Result<(), PodsError> {
        let params = DeleteParams {
            grace_period_seconds: Some(grace),
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match within(self.api.delete(&pod.name, &params)).await {
            Ok(_) => Ok(()),
            // A conflict: another pod has the name by now, so this one is gone.
            Err(RequestError::Answered(kube::Error::Api(status)))
                if status.is_not_found() || status.is_conflict() =>
            {
                Ok(())
            }
            Err(error) => Err(failed("delete", &pod.name, &error)),
        }
    }

    async fn wait_gone(&self, pod: &PodRef) -> Result<(), PodsError> {
        let gone = kube::runtime::wait::conditions::is_deleted(&pod.uid);
        let waited = await_condition(self.api.clone(), &pod.name, gone).await;
        waited
            .map(drop)
            .map_err(|error| failed("watch", &pod.name, &error))
    }

    async fn find(&self, name: &str) -> Result<Option<PodRef>, PodsError> {
        let found = self.get(name).await?;
        Ok(found.as_ref().map(reference))
    }

    async fn list(&self) -> Result<Vec<Pod>, PodsError> {
        let params = ListParams::default().labels(&self.selector());
        let list = within(self.api.list(&params)).await;
        let mut pods = list.map_err(|error| failed("list", "(all)", &error))?.items;
        pods.retain(|pod| {
            pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(&self.node)
        });
        Ok(pods)
    }

    async fn trouble(&self, pod: &PodRef) -> String {
        let mut watch = Box::pin(watch_object(self.api.clone(), &pod.name));
        while let Some(seen) = watch.next().await {
            match seen {
                Ok(Some(seen)) => {
                    if let Some(reason) = seen.status.as_ref().and_then(trouble_of) {
                        return format!("the mount pod {} does not start: {reason}", pod.name);
                    }
                }
                Ok(None) => {
                    return format!("the mount pod {} was deleted while it started", pod.name);
                }
                // The watch starts again by itself.
                Err(error) => tracing::debug!(%error, "watching a mount pod"),
            }
        }
        std::future::pending().await
    }

    fn departures(&self) -> BoxStream<'static, Pod> {
        departures(self.api.clone(), &self.selector()).boxed()
    }
}

/// What a status says that will not get better by itself soon.
fn trouble_of(status: &PodStatus) -> Option<String> {
    if status.phase.as_deref() == Some("Failed") {
        let text = [&status.reason, &status.message]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>();
        return Some(format!("the node refused it ({})", text.join(": ")));
    }
    status
        .container_statuses
        .iter()
        .flatten()
        .find_map(container_trouble)
}

fn container_trouble(status: &ContainerStatus) -> Option<String> {
    const LASTING: [&str; 7] = [
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerError",
        "CreateContainerConfigError",
        "RunContainerError",
    ];
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        // How it ended last says more than that it is not started again at once.
        if waiting.reason.as_deref() == Some("CrashLoopBackOff") {
            return ended(status.last_state.as_ref()?);
        }
        let reason = waiting
            .reason
            .as_deref()
            .filter(|reason| LASTING.contains(reason))?;
        return Some(format!(
            "{reason}: {}",
            waiting.message.as_deref().unwrap_or("no further message")
        ));
    }
    ended(state)
}

fn ended(state: &ContainerState) -> Option<String> {
    let ended = state
        .terminated
        .as_ref()
        .filter(|ended| ended.exit_code != 0)?;
    let reason = ended.reason.as_deref().unwrap_or("it ended");
    Some(format!(
        "{reason}, exit code {}: see its log",
        ended.exit_code
    ))
}

/// Whether a container of the pod runs, as far as kubelet has told.
pub(super) fn is_running(pod: &Pod) -> bool {
    let containers = pod
        .status
        .iter()
        .flat_map(|status| &status.container_statuses);
    let mut states = containers
        .flatten()
        .filter_map(|container| container.state.as_ref());
    !has_ended(pod) && states.any(|state| state.running.is_some())
}

/// The volume that a mount pod serves.
pub(super) fn volume_of(pod: &Pod) -> Option<&str> {
    let (tags, notes) = (
        pod.metadata.labels.as_ref()?,
        pod.metadata.annotations.as_ref(),
    );
    notes
        .and_then(|notes| notes.get(labels::VOLUME))
        .or_else(|| tags.get(labels::VOLUME))
        .map(String::as_str)
}

/// A pod's name and uid.
pub(super) fn reference(pod: &Pod) -> PodRef {
    PodRef {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
    }
}

fn failed(action: &'static str, pod: &str, error: &dyn std::fmt::Display) -> PodsError {
    PodsError::Api {
        action,
        pod: pod.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: &str) -> PodStatus {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_pod_runs_while_a_container_of_it_does() {
        let pod = |state: &str| -> Pod {
            let text = r#"{"containerStatuses":[{"name":"mount","image":"x","imageID":"","ready":true,"restartCount":0,"state":STATE}]}"#;
            Pod {
                status: Some(status(&text.replace("STATE", state))),
                ..Pod::default()
            }
        };
        assert!(is_running(&pod(r#"{"running":{}}"#)));
        assert!(!is_running(&pod(
            r#"{"waiting":{"reason":"CrashLoopBackOff"}}"#
        )));
        assert!(!is_running(&Pod::default()), "kubelet has told nothing");
    }

    #[test]
    fn a_missing_image_is_trouble_and_a_slow_one_is_not() {
        let missing = status(
            r#"{"containerStatuses":[{"name":"mount","image":"x","imageID":"","ready":false,"restartCount":0,
                "state":{"waiting":{"reason":"ErrImageNeverPull","message":"image \"x\" is not present"}}}]}"#,
        );
        assert!(trouble_of(&missing).unwrap().contains("not present"));
        let creating = status(
            r#"{"containerStatuses":[{"name":"mount","image":"x","imageID":"","ready":false,"restartCount":0,
                "state":{"waiting":{"reason":"ContainerCreating"}}}]}"#,
        );
        assert_eq!(trouble_of(&creating), None);
    }

    #[test]
    fn a_client_that_dies_again_and_again_is_trouble() {
        let crashing = status(
            r#"{"containerStatuses":[{"name":"mount","image":"x","imageID":"","ready":false,"restartCount":4,
                "state":{"waiting":{"reason":"CrashLoopBackOff"}},
                "lastState":{"terminated":{"exitCode":137,"reason":"OOMKilled"}}}]}"#,
        );
        assert_eq!(
            trouble_of(&crashing).unwrap(),
            "OOMKilled, exit code 137: see its log"
        );
    }

    #[test]
    fn a_pod_that_the_node_refuses_is_trouble() {
        let refused = status(
            r#"{"phase":"Failed","reason":"OutOfmemory","message":"Node didn't have enough"}"#,
        );
        assert_eq!(
            trouble_of(&refused).unwrap(),
            "the node refused it (OutOfmemory: Node didn't have enough)"
        );
    }
}
