//! Mount pods and what lies on the nodes, seen from outside.

use std::fs;
use std::path::PathBuf;

use carafe_e2e::node::Node;
use carafe_e2e::{chart, cluster as local};
use k8s_openapi::api::core::v1::Pod;

use crate::cluster;
use crate::fixture::{Fixture, eventually, names};

impl Fixture {
    /// The mount pods of a volume.
    pub(crate) async fn mount_pods(&self, volume: &str) -> Vec<Pod> {
        let selector = format!("carafe.io/volume={volume}");
        self.pods_labelled(chart::MOUNT_NAMESPACE, &selector).await
    }

    /// The one mount pod of a volume.
    pub(crate) async fn mount_pod(&self, volume: &str) -> Pod {
        let mut pods = self.mount_pods(volume).await;
        assert_eq!(pods.len(), 1, "{:?}", names(&pods));
        pods.remove(0)
    }

    /// Waits until a volume has no mount pod.
    pub(crate) async fn no_mount_pods(&self, volume: &str) {
        eventually("end of the mount pods", || async {
            let left = self.mount_pods(volume).await;
            if left.is_empty() {
                return Ok(());
            }
            Err(format!("still there: {:?}", names(&left)))
        })
        .await;
    }
}

/// The run's node of that name; none where the cluster is not on this machine.
pub(crate) fn local_node(name: &str) -> Option<Node> {
    let run = cluster::local_run();
    if run.is_none() {
        println!("left out: the cluster is not on this machine, its nodes are not looked into");
    }
    let mut nodes = local::nodes(&run?).into_iter();
    Some(
        nodes
            .find(|node| node.name() == name)
            .expect("the node is the run's"),
    )
}

/// No mount, pod directory, socket or cache of the volume and its pods is on the node.
pub(crate) async fn nothing_left(node: &str, volume: &str, pods: &[Pod]) {
    let Some(node) = local_node(node) else { return };
    eventually("a clean node", || async {
        let mut left: Vec<String> = node
            .mountinfo()
            .unwrap()
            .lines()
            .filter(|line| line.contains(volume))
            .map(str::to_owned)
            .collect();
        left.extend(paths_of(&node, pods).into_iter().filter_map(|path| {
            let there = path.symlink_metadata().is_ok();
            there.then(|| path.display().to_string())
        }));
        // Kubelet removes them, and only after our answer.
        left.extend(staging_directories(&node, volume));
        if left.is_empty() {
            return Ok(());
        }
        Err(format!("left: {left:#?}"))
    })
    .await;
}

/// Where mount pods have files on their node.
fn paths_of(node: &Node, pods: &[Pod]) -> Vec<PathBuf> {
    let below = |path: &str| node.dir().join("var/lib").join(path);
    let of = |pod: &Pod| {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        [
            below(&format!("kubelet/pods/{uid}")),
            below(&format!("carafe/cache/{name}")),
        ]
    };
    pods.iter().flat_map(of).collect()
}

/// Staging directories hold a file that names their volume.
fn staging_directories(node: &Node, volume: &str) -> Vec<String> {
    let staged = node
        .dir()
        .join("var/lib/kubelet/plugins/kubernetes.io/csi/csi.carafe.io");
    let entries = fs::read_dir(staged).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let data = fs::read_to_string(entry.path().join("vol_data.json"));
            data.is_ok_and(|data| data.contains(volume))
        })
        .map(|entry| entry.path().display().to_string())
        .collect()
}
