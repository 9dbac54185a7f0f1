//! Claims, from `kubectl apply` to bytes in the object store.

use carafe_e2e::{chart, cluster as local};
use k8s_openapi::api::core::v1::Pod;

use crate::cluster;
use crate::fixture::{Fixture, LIMIT, names};

#[tokio::test]
async fn what_a_pod_writes_on_one_node_a_pod_on_the_other_reads() {
    let test = Fixture::new("volumes-shared").await.with_driver().await;
    test.storage_class().await;
    test.shared_claim("data").await;
    let nodes = test.nodes().await;
    for (pod, node) in [("writer", &nodes[0]), ("reader", &nodes[1])] {
        test.start_pod(pod, node, &["data"]);
    }
    test.pod_ready("writer").await;
    test.pod_ready("reader").await;
    let write = "mkdir /data/tree && dd if=/dev/urandom of=/data/tree/file bs=1M count=20 2>/dev/null && sync /data/tree/file && md5sum < /data/tree/file";
    let written = test.sh("writer", write).unwrap();
    // The reader's kernel may remember for a second that the name was not there.
    let read = test
        .sh("reader", "sleep 1; md5sum < /data/tree/file")
        .unwrap();
    assert_eq!(written, read);
}

#[tokio::test]
async fn two_pods_of_a_node_share_a_mount_pod_and_the_last_takes_it_away() {
    let test = Fixture::new("volumes-last").await.with_driver().await;
    test.storage_class().await;
    test.shared_claim("data").await;
    let node = test.nodes().await.remove(0);
    test.start_pod("first", &node, &["data"]);
    test.start_pod("second", &node, &["data"]);
    test.pod_ready("first").await;
    test.pod_ready("second").await;
    let volume = test.volume_of("data").await;
    let pods = mount_pods(&test, &volume).await;
    assert_eq!(pods.len(), 1, "{:?}", names(&pods));
    test.sh("first", "echo shared > /data/word").unwrap();
    assert_eq!(
        test.sh("second", "cat /data/word").unwrap().trim(),
        "shared"
    );

    test.delete_pod("first").await;
    assert_eq!(
        test.sh("second", "cat /data/word").unwrap().trim(),
        "shared"
    );
    assert_eq!(mount_pods(&test, &volume).await.len(), 1);
    test.delete_pod("second").await;
    wait_for_none(&test, &volume).await;
    assert_nothing_left(&node, &volume);
}

async fn mount_pods(test: &Fixture, volume: &str) -> Vec<Pod> {
    test.pods_labelled(
        chart::MOUNT_NAMESPACE,
        &format!("carafe.io/volume={volume}"),
    )
    .await
}

async fn wait_for_none(test: &Fixture, volume: &str) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let left = mount_pods(test, volume).await;
        if left.is_empty() {
            return;
        }
        let ending = left
            .iter()
            .all(|pod| pod.metadata.deletion_timestamp.is_some());
        assert!(
            tokio::time::Instant::now() < deadline,
            "still there (ending: {ending}): {:?}",
            names(&left)
        );
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// Seen from outside the node, which only a cluster on this machine allows.
fn assert_nothing_left(node: &str, volume: &str) {
    let Some(run) = cluster::local_run() else {
        println!(
            "left out: the cluster is not on this machine, its nodes' mounts are not looked at"
        );
        return;
    };
    let node = local::nodes(&run)
        .into_iter()
        .find(|one| one.name() == node)
        .expect("the node is the run's");
    let mounts = node.mountinfo().unwrap();
    let left: Vec<_> = mounts
        .lines()
        .filter(|line| line.contains(volume))
        .collect();
    assert!(left.is_empty(), "mounts left: {left:#?}");
}
