//! Which mount pods are no more, as the API server's watch tells it.

use std::collections::HashMap;

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        watcher::{Config, Event, watcher},
    },
};

/// Each pod that ends or goes, as long as anybody asks. A watch that breaks starts again
/// by itself, and what it has missed meanwhile is told then.
pub(super) fn departures(api: Api<Pod>, selector: &str) -> impl Stream<Item = Pod> + use<> {
    let events = watcher(api, Config::default().labels(selector)).default_backoff();
    let mut there = There::default();
    events.flat_map(move |event| match event {
        Ok(event) => stream::iter(there.after(event)),
        Err(error) => {
            tracing::debug!(%error, "watching the mount pods");
            stream::iter(Vec::new())
        }
    })
}

/// Whether no container of it runs, now or later.
pub(super) fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// The pods that are there, by uid.
#[derive(Default)]
struct There {
    pods: HashMap<String, Pod>,
    /// What a list has shown so far that is to take the place of all.
    listed: HashMap<String, Pod>,
}

impl There {
    /// Takes what happened, and answers which pods are no more.
    fn after(&mut self, event: Event<Pod>) -> Vec<Pod> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(pod) => {
                self.listed.insert(uid(&pod), pod);
                Vec::new()
            }
            Event::InitDone => self.replaced(),
            Event::Apply(pod) if has_ended(&pod) => self.left(pod),
            Event::Apply(pod) => {
                self.pods.insert(uid(&pod), pod);
                Vec::new()
            }
            Event::Delete(pod) => self.left(pod),
        }
    }

    /// A list is complete.
    fn replaced(&mut self) -> Vec<Pod> {
        let listed = std::mem::take(&mut self.listed);
        let (ended, there) = listed.into_iter().partition(|(_, pod)| has_ended(pod));
        let ended: HashMap<_, _> = ended;
        let mut left = std::mem::replace(&mut self.pods, there);
        left.retain(|uid, _| !self.pods.contains_key(uid));
        left.extend(ended);
        left.into_values().collect()
    }

    fn left(&mut self, pod: Pod) -> Vec<Pod> {
        self.pods.remove(&uid(&pod));
        vec![pod]
    }
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodStatus;

    use super::*;

    fn pod(uid: &str, phase: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid.into());
        pod.status = Some(PodStatus {
            phase: Some(phase.into()),
            ..PodStatus::default()
        });
        pod
    }

    fn after(there: &mut There, events: impl IntoIterator<Item = Event<Pod>>) -> Vec<String> {
        let left = events.into_iter().flat_map(|event| there.after(event));
        let mut left: Vec<_> = left.map(|pod| uid(&pod)).collect();
        left.sort();
        left
    }

    #[test]
    fn a_pod_that_ends_or_goes_is_told() {
        let mut there = There::default();
        let started = [
            Event::Apply(pod("a", "Running")),
            Event::Apply(pod("b", "Running")),
        ];
        assert!(after(&mut there, started).is_empty());
        assert_eq!(after(&mut there, [Event::Apply(pod("a", "Failed"))]), ["a"]);
        assert_eq!(
            after(&mut there, [Event::Delete(pod("b", "Running"))]),
            ["b"]
        );
    }

    #[test]
    fn what_went_while_nobody_watched_is_told_after_the_next_list() {
        let mut there = There::default();
        let list = |pods: &[(&str, &str)]| {
            let shown = pods
                .iter()
                .map(|(uid, phase)| Event::InitApply(pod(uid, phase)));
            let shown: Vec<_> = shown.collect();
            [Event::Init]
                .into_iter()
                .chain(shown)
                .chain([Event::InitDone])
        };
        assert!(after(&mut there, list(&[("a", "Running"), ("b", "Running")])).is_empty());
        let left = after(&mut there, list(&[("b", "Failed"), ("c", "Running")]));
        assert_eq!(left, ["a", "b"]);
        assert_eq!(after(&mut there, list(&[])), ["c"]);
    }
}
