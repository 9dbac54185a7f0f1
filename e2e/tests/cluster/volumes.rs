//! The life of a claim, from `kubectl apply` to bytes in the object store and back
//! to nothing.

use carafe_e2e::chart;

use crate::fixture::{Fixture, eventually};
use crate::mount_pods::nothing_left;
use crate::peer::with_juicefs;

#[tokio::test]
async fn what_a_pod_writes_on_one_node_a_pod_on_the_other_reads() {
    let test = Fixture::new("volumes-shared").await.with_driver().await;
    test.storage_class().await;
    test.claim("data").await;
    let (_guard, nodes) = test.both_nodes().await;
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

/// The figure is for people: a busy machine must not fail a test.
#[tokio::test]
async fn a_claim_is_bound_in_milliseconds_of_the_driver() {
    let test = Fixture::new("volumes-figure").await.with_driver().await;
    test.storage_class().await;
    for claim in ["first", "second", "third"] {
        test.claim(claim).await;
        let volume = test.volume_of(claim).await;
        eventually("the controller's figure", || async {
            let logs = test.driver_logs("carafe-controller");
            let logs = logs.map_err(|error| error.to_string())?;
            let took = logs
                .lines()
                .filter(|line| line.contains("CreateVolume") && line.contains(&volume))
                .find_map(|line| line.split("millis=").nth(1)?.split_whitespace().next());
            let took = took.ok_or("it has not said how long it took")?;
            println!("CreateVolume of the {claim} claim: {took} ms");
            Ok(())
        })
        .await;
    }
}

#[tokio::test]
async fn two_pods_of_a_node_share_a_mount_pod_and_the_last_takes_it_away() {
    let test = Fixture::new("volumes-last").await.with_driver().await;
    test.storage_class().await;
    test.claim("data").await;
    let node = test.node().await;
    test.start_pod("first", &node, &["data"]);
    test.start_pod("second", &node, &["data"]);
    test.pod_ready("first").await;
    test.pod_ready("second").await;
    let volume = test.volume_of("data").await;
    let pod = test.mount_pod(&volume).await;
    test.sh("first", "echo shared > /data/word").unwrap();
    let read = |pod| test.sh(pod, "cat /data/word").unwrap();
    assert_eq!(read("second").trim(), "shared");

    test.delete_pod("first").await;
    assert_eq!(read("second").trim(), "shared");
    assert_eq!(test.mount_pod(&volume).await.metadata.uid, pod.metadata.uid);
    test.delete_pod("second").await;
    test.no_mount_pods(&volume).await;
    nothing_left(&node, &volume, &[pod]).await;
}

#[tokio::test]
async fn a_deleted_claims_data_goes_to_the_trash_and_its_quota_goes() {
    let test = Fixture::new("volumes-deleted").await.with_driver().await;
    let system = test.storage_class().await;
    test.claim("data").await;
    let node = test.node().await;
    test.start_pod("writer", &node, &["data"]);
    test.pod_ready("writer").await;
    test.sh(
        "writer",
        "mkdir -p /data/deep/er && echo precious > /data/deep/er/word",
    )
    .unwrap();
    let quotas = || system.redis(&["HLEN", "dirQuota"]).trim().to_owned();
    assert_eq!(quotas(), "1", "quota records while the claim lives");
    test.delete_pod("writer").await;
    test.delete_claim("data").await;
    assert_eq!(quotas(), "0", "quota records after the claim");
    eventually("the data in the trash", || async {
        let found = with_juicefs(
            &system.metaurl,
            "ls -a; find .trash -type f -exec cat {} +; ls .carafe-deleted 2>/dev/null",
        )
        .map_err(|error| error.to_string())?;
        let words: Vec<_> = found.split_whitespace().collect();
        let claims = words.iter().filter(|word| word.starts_with("pvc-")).count();
        if claims == 0 && words.contains(&"precious") {
            return Ok(());
        }
        Err(found)
    })
    .await;
}

impl Fixture {
    /// What all pods of a part of the driver have said.
    pub(crate) fn driver_logs(&self, part: &str) -> anyhow::Result<String> {
        let selector = format!("app.kubernetes.io/name={part}");
        self.kubectl_global(&[
            "logs",
            "--namespace",
            chart::NAMESPACE,
            "--selector",
            &selector,
            "--container",
            "driver",
            "--tail=-1",
        ])
    }
}
