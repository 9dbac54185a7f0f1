//! The node plugin or kubelet restarts, or a mount pod is deleted, while a pod has its
//! volume open.

use std::{cell::Cell, time::Instant};

use carafe_e2e::chart;
use carafe_e2e::tools::Tools;
use k8s_openapi::api::core::v1::Pod;

use crate::fixture::{Fixture, eventually, is_ready, toolbox_pod};
use crate::mount_pods::{local_node, nothing_left};

/// Appends numbered lines, each of them synced and read back, until told to stop;
/// ends with an error at the first call that fails.
const WRITER: &str = "set -e; n=0; while [ ! -e /data/stop ]; do n=$((n+1)); echo $n >> /data/lines; \
    echo $n > /data/last.new; mv /data/last.new /data/last; [ $(cat /data/last) = $n ]; [ $(tail -n 1 /data/lines) = $n ]; done; \
    [ $(wc -l < /data/lines) = $n ]; echo complete";

struct Writing {
    test: Fixture,
    node: String,
    volume: String,
    mount_pod: Pod,
}

impl Writing {
    async fn start(test: Fixture, node: String) -> Self {
        test.storage_class().await;
        test.claim("data").await;
        test.apply(&toolbox_pod("writer", &node, &["data"], WRITER))
            .unwrap();
        test.pod_ready("writer").await;
        let volume = test.volume_of("data").await;
        let mount_pod = test.mount_pod(&volume).await;
        let writing = Self {
            test,
            node,
            volume,
            mount_pod,
        };
        writing.goes_on().await;
        writing
    }

    fn last(&self) -> u64 {
        let last = self.test.sh("writer", "cat /data/last").unwrap();
        last.trim().parse().unwrap()
    }

    /// Waits until the writer has written more.
    async fn goes_on(&self) {
        let read = || {
            self.test
                .sh("writer", "cat /data/last 2>/dev/null || echo 0")
        };
        let before = Cell::new(None);
        eventually("progress of the writer", || async {
            let now = read().map_err(|error| error.to_string())?;
            let now: u64 = now.trim().parse().unwrap_or_default();
            let before = before.get().unwrap_or_else(|| {
                before.set(Some(now));
                now
            });
            if now > before + 5 {
                return Ok(());
            }
            Err(format!("line {now} after {before}"))
        })
        .await;
    }

    /// A second pod gets the volume, then both leave and nothing is left.
    async fn end(self) {
        let Self { test, .. } = &self;
        test.start_pod("second", &self.node, &["data"]);
        test.pod_ready("second").await;
        assert_eq!(
            test.mount_pod(&self.volume).await.metadata.uid,
            self.mount_pod.metadata.uid,
            "the mount pod is the one from before"
        );
        assert!(self.last() > 0);
        test.sh("second", "touch /data/stop").unwrap();
        let succeeded = |pod: Option<&Pod>| {
            let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
            assert_ne!(phase, Some("Failed"), "the writer met an error");
            phase == Some("Succeeded")
        };
        test.wait::<Pod>("writer", "done", succeeded).await;
        assert_eq!(test.kubectl(&["logs", "writer"]).unwrap(), "complete\n");
        test.delete_pod("writer").await;
        test.delete_pod("second").await;
        test.no_mount_pods(&self.volume).await;
        nothing_left(
            &self.node,
            &self.volume,
            std::slice::from_ref(&self.mount_pod),
        )
        .await;
    }

    async fn plugin(&self) -> Option<Pod> {
        let pods = self
            .test
            .pods_labelled(chart::NAMESPACE, "app.kubernetes.io/name=carafe-node");
        let here = |pod: &Pod| pod.spec.as_ref().unwrap().node_name.as_ref() == Some(&self.node);
        pods.await.into_iter().find(here)
    }
}

#[tokio::test]
async fn a_writer_does_not_notice_that_the_node_plugin_restarts() {
    let test = Fixture::new("restarts-plugin").await.with_driver().await;
    let node = test.node().await;
    let writing = Writing::start(test, node).await;
    let before = writing.plugin().await.unwrap();
    let name = before.metadata.name.clone().unwrap();
    // Without a grace period: as a crash, not as an orderly end.
    writing
        .test
        .kubectl_global(&[
            "delete",
            "pod",
            &name,
            "--namespace",
            chart::NAMESPACE,
            "--grace-period=0",
            "--force",
        ])
        .unwrap();
    eventually("the next plugin", || async {
        let plugin = writing.plugin().await;
        let next = plugin.filter(|pod| pod.metadata.uid != before.metadata.uid && is_ready(pod));
        next.map(drop).ok_or_else(|| "not ready".to_owned())
    })
    .await;
    writing.goes_on().await;
    writing.end().await;
}

#[tokio::test]
async fn a_writer_does_not_notice_that_kubelet_restarts() {
    let test = Fixture::new("restarts-kubelet").await.with_driver().await;
    let (_guard, name) = test.restartable_node().await;
    let Some(node) = local_node(&name) else {
        return;
    };
    let writing = Writing::start(test, name).await;
    node.restart_kubelet(&Tools::find().unwrap()).unwrap();
    writing.goes_on().await;
    writing.end().await;
}

#[tokio::test]
async fn a_mount_pod_that_is_told_to_end_serves_until_its_last_user_has_gone() {
    let test = Fixture::new("restarts-told").await.with_driver().await;
    let node = test.node().await;
    let writing = Writing::start(test, node).await;
    delete_mount_pod(&writing.test, &writing.mount_pod, &[]);
    let told = writing.test.mount_pod(&writing.volume).await;
    assert!(told.metadata.deletion_timestamp.is_some(), "{told:?}");
    writing.goes_on().await;
    writing.end().await;
}

#[tokio::test]
async fn a_writer_goes_on_soon_after_its_mount_pod_was_deleted_by_force() {
    let test = Fixture::new("restarts-force").await.with_driver().await;
    let node = test.node().await;
    let mut writing = Writing::start(test, node).await;
    let (first, start) = (writing.mount_pod.clone(), Instant::now());
    delete_mount_pod(&writing.test, &first, &["--grace-period=0", "--force"]);
    let is_next = |pod: &Pod| pod.metadata.uid != first.metadata.uid && is_ready(pod);
    eventually("the next mount pod", || async {
        let pods = writing.test.mount_pods(&writing.volume).await;
        let next = pods.iter().any(is_next);
        next.then_some(()).ok_or_else(|| "not there".to_owned())
    })
    .await;
    writing.goes_on().await;
    println!(
        "the writer goes on {:?} after its mount pod was deleted",
        start.elapsed()
    );
    writing.mount_pod = writing.test.mount_pod(&writing.volume).await;
    writing.end().await;
}

/// Holds a file open and writes to it again when a file tells it to.
const HOLDER: &str = "set -e; exec 3>>/data/lines; echo before >&3; \
    while [ ! -e /data/go ]; do sleep 0.2; done; echo after >&3; exec 3>&-; cat /data/lines";

/// A pod with a file open, whose mount pod is to go.
struct Holding {
    test: Fixture,
    node: String,
    volume: String,
    first: Pod,
}

impl Holding {
    async fn start(name: &str) -> Self {
        let test = Fixture::new(name).await.with_driver().await;
        test.storage_class().await;
        test.claim("data").await;
        let node = test.node().await;
        test.apply(&toolbox_pod("holder", &node, &["data"], HOLDER))
            .unwrap();
        test.pod_ready("holder").await;
        let volume = test.volume_of("data").await;
        let first = test.mount_pod(&volume).await;
        Self {
            test,
            node,
            volume,
            first,
        }
    }

    /// A second pod gets the volume from another mount pod, then the holder writes on
    /// and both leave.
    async fn goes_on_with_another(self) {
        let Self { test, volume, .. } = &self;
        test.start_pod("second", &self.node, &["data"]);
        test.pod_ready("second").await;
        let next = test.mount_pod(volume).await;
        let (old, new) = (&self.first.metadata.uid, &next.metadata.uid);
        assert_ne!(new, old, "another mount pod");
        test.sh("second", "touch /data/go").unwrap();
        let has_ended = |pod: Option<&Pod>| {
            let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        test.wait::<Pod>("holder", "done", has_ended).await;
        let said = test.kubectl(&["logs", "holder"]).unwrap();
        assert_eq!(said, "before\nafter\n", "no error, no lost line");
        test.delete_pod("holder").await;
        test.delete_pod("second").await;
        test.no_mount_pods(volume).await;
        nothing_left(&self.node, volume, &[self.first.clone(), next]).await;
    }
}

#[tokio::test]
async fn an_open_file_outlives_its_mount_pod() {
    let holding = Holding::start("restarts-deleted").await;
    let by_force = ["--grace-period=0", "--force"];
    delete_mount_pod(&holding.test, &holding.first, &by_force);
    holding.goes_on_with_another().await;
}

#[tokio::test]
async fn a_mount_pod_that_is_deleted_twice_is_followed_by_another() {
    let holding = Holding::start("restarts-twice").await;
    // Kubelet keeps to the first delete's grace period, which is a day.
    delete_mount_pod(&holding.test, &holding.first, &[]);
    let by_force = ["--grace-period=0", "--force"];
    delete_mount_pod(&holding.test, &holding.first, &by_force);
    holding.goes_on_with_another().await;
}

fn delete_mount_pod(test: &Fixture, pod: &Pod, how: &[&str]) {
    let name = pod.metadata.name.as_deref().unwrap();
    let namespace = ["--namespace", chart::MOUNT_NAMESPACE];
    let delete = ["delete", "pod", name, "--wait=false"];
    test.kubectl_global(&[&delete[..], &namespace, how].concat())
        .unwrap();
}
