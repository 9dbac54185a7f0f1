//! A claim's size is a quota of its directory.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Fixture, eventually, within};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_claims_size_limits_it_and_grows_at_once() {
    let test = Fixture::new("quota").await.with_driver().await;
    test.storage_class().await;
    test.ask("data", "volume", "16Mi", &json!({}));
    test.claim_bound("data").await;
    let node = test.node().await;
    test.start_pod("pod", &node, &["data"]);
    test.pod_ready("pod").await;
    let size = || {
        let text = test
            .sh("pod", "df -P -k /data | tail -1 | awk '{print $2}'")
            .unwrap();
        text.trim().parse::<u64>().unwrap() * 1024
    };
    assert_eq!(size(), 16 * MIB, "df shows the quota");
    let fill = |name: &str, mib: u32| {
        test.sh(
            "pod",
            &format!(
                "dd if=/dev/zero of=/data/{name} bs=1M count={mib} 2>&1 && sync /data/{name} 2>&1"
            ),
        )
    };
    fill("fits", 12).unwrap();
    let refused = fill("over", 12).unwrap_err().to_string();
    // As juicefs: EDQUOT of a directory's quota.
    let quota = ["Disk quota exceeded", "Quota exceeded", "No space left"];
    assert!(quota.iter().any(|text| refused.contains(text)), "{refused}");
    test.sh("pod", "rm -f /data/over").unwrap();

    grow(&test, "data", "64Mi");
    eventually("the larger claim", || async {
        let shown = test
            .kubectl(&[
                "get",
                "pvc",
                "data",
                "-o",
                "jsonpath={.status.capacity.storage}",
            ])
            .map_err(|error| error.to_string())?;
        if shown == "64Mi" {
            return Ok(());
        }
        Err(shown)
    })
    .await;
    eventually("the larger quota", || async {
        match size() {
            size if size == 64 * MIB => Ok(()),
            size => Err(format!("{size} bytes")),
        }
    })
    .await;
    fill("over", 12).unwrap();
    kubelet_shows(&test, &node, 64 * MIB, 24 * MIB).await;
}

fn grow(test: &Fixture, claim: &str, size: &str) {
    let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}}).to_string();
    test.kubectl(&["patch", "pvc", claim, "--type=merge", "--patch", &patch])
        .unwrap();
}

/// What kubelet got from `NodeGetVolumeStats`; it asks about once a minute.
async fn kubelet_shows(test: &Fixture, node: &str, capacity: u64, used: u64) {
    let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
    within(Duration::from_secs(180), "kubelet's figures", || async {
        let text = test
            .kubectl_global(&["get", "--raw", &path])
            .map_err(|error| error.to_string())?;
        let summary: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let pods = summary["pods"].as_array().into_iter().flatten();
        let mine = pods.filter(|pod| pod["podRef"]["namespace"] == test.namespace.as_str());
        let volume = mine
            .flat_map(|pod| pod["volume"].as_array().into_iter().flatten())
            .find(|volume| volume["name"] == "data")
            .cloned()
            .unwrap_or_default();
        let right = volume["capacityBytes"] == capacity
            && volume["usedBytes"].as_u64() >= Some(used)
            && volume["inodesUsed"].as_u64() >= Some(2);
        if right {
            return Ok(());
        }
        Err(volume.to_string())
    })
    .await;
}
