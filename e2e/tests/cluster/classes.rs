//! What a StorageClass says: where claims lie, and how they are mounted.

use serde_json::json;

use crate::fixture::Fixture;
use crate::mount_pods::local_node;
use crate::peer::with_juicefs;
use crate::storage::{Class, FileSystem, SIZE};

#[tokio::test]
async fn a_path_pattern_says_where_a_claim_lies() {
    let test = Fixture::new("classes-pattern").await.with_driver().await;
    let system = FileSystem::new(&test).await;
    test.secret("volume", &system);
    test.class(&Class {
        name: "volume",
        parameters: &[(
            "pathPattern",
            "/teams/${.pvc.namespace}/${.pvc.annotations.tier}-${.pvc.name}",
        )],
        mount_options: &[],
    });
    test.ask("data", "volume", SIZE, &json!({"tier": "gold"}));
    test.claim_bound("data").await;
    let node = test.node().await;
    test.start_pod("pod", &node, &["data"]);
    test.pod_ready("pod").await;
    test.sh("pod", "echo here > /data/word && sync /data/word")
        .unwrap();
    let path = format!("teams/{}/gold-data/word", test.namespace);
    assert_eq!(
        with_juicefs(&system.metaurl, &format!("cat {path}"))
            .unwrap()
            .trim(),
        "here"
    );
}

#[tokio::test]
async fn mount_options_reach_the_mount() {
    let test = Fixture::new("classes-options").await.with_driver().await;
    let system = FileSystem::new(&test).await;
    test.secret("volume", &system);
    // One that the kernel shows, and one that shows on the node's disk.
    test.class(&Class {
        name: "volume",
        parameters: &[],
        mount_options: &["ro", "cache-size=64"],
    });
    test.claim("data").await;
    let node = test.node().await;
    test.start_pod("pod", &node, &["data"]);
    test.pod_ready("pod").await;
    let refused = test.sh("pod", "echo x > /data/x").unwrap_err();
    assert!(
        refused.to_string().contains("Read-only file system"),
        "{refused:#}"
    );
    let volume = test.volume_of("data").await;
    let pod = test.mount_pod(&volume).await;
    if let Some(node) = local_node(&node) {
        let cache = node
            .dir()
            .join("var/lib/carafe/cache")
            .join(pod.metadata.name.unwrap());
        assert!(
            cache.is_dir(),
            "{}: the volume's cache on its node",
            cache.display()
        );
    }
}
