//! What a StorageClass says: where claims lie, and how they are mounted.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::fixture::{Fixture, eventually};
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
async fn mount_options_reach_the_kernel() {
    let test = Fixture::new("classes-options").await.with_driver().await;
    with_options(&test, &["ro"]).await;
    let refused = test.sh("pod", "echo x > /data/x").unwrap_err();
    assert!(
        refused.to_string().contains("Read-only file system"),
        "{refused:#}"
    );
}

#[tokio::test]
async fn mount_options_reach_the_cache() {
    let test = Fixture::new("classes-cache").await.with_driver().await;
    let node = with_options(&test, &["cache-size=8"]).await;
    let write = "for n in 1 2 3 4 5 6; do head -c 4194304 /dev/urandom > /data/$n; done; sync /data/*; cat /data/* > /dev/null";
    test.sh("pod", write).unwrap();
    let pod = test.mount_pod(&test.volume_of("data").await).await;
    let Some(node) = local_node(&node) else {
        return;
    };
    let cache = node.dir().join("var/lib/carafe/cache");
    let cache = cache.join(pod.metadata.name.unwrap());
    eventually("a cache within its size", || async {
        let mib = size(&cache) >> 20;
        if (1..=8).contains(&mib) {
            return Ok(());
        }
        Err(format!("{mib} MiB of 24 are cached, with cache-size=8"))
    })
    .await;
}

/// A pod whose volume is mounted with the options; answers its node.
async fn with_options(test: &Fixture, options: &[&str]) -> String {
    let system = FileSystem::new(test).await;
    test.secret("volume", &system);
    test.class(&Class {
        name: "volume",
        parameters: &[],
        mount_options: options,
    });
    test.claim("data").await;
    let node = test.node().await;
    test.start_pod("pod", &node, &["data"]);
    test.pod_ready("pod").await;
    node
}

/// The bytes of all files below a directory; one that goes meanwhile counts nothing.
fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}
