//! PersistentVolumes made by hand: an existing file system, or a part of it.

use serde_json::json;

use crate::fixture::Fixture;
use crate::peer::{juicefs, with_juicefs};
use crate::storage::FileSystem;

/// A file system that the real juicefs has formatted and filled.
async fn filled(test: &Fixture) -> FileSystem {
    let system = FileSystem::new(test).await;
    format_with_juicefs(&system);
    let fill =
        "mkdir -p team/data && echo whole > top && echo part > team/data/word && chmod -R a+rwX . ";
    with_juicefs(&system.metaurl, fill).unwrap();
    test.secret("volume", &system);
    system
}

fn format_with_juicefs(system: &FileSystem) {
    let mut format = juicefs();
    format
        .args([
            "format",
            "--no-update",
            "--storage",
            "s3",
            "--bucket",
            &system.bucket,
        ])
        .env("ACCESS_KEY", &system.access_key)
        .env("SECRET_KEY", &system.secret_key);
    carafe_e2e::shell::run(format.args([&system.metaurl, &system.name])).unwrap();
}

#[tokio::test]
async fn a_whole_file_system_and_a_directory_of_it_are_volumes() {
    let test = Fixture::new("existing").await.with_driver().await;
    filled(&test).await;
    test.static_claim("whole", &json!({}), &[]).await;
    test.static_claim("part", &json!({"subPath": "team/data"}), &[])
        .await;
    test.static_claim("reading", &json!({}), &["ro", "subdir=/team"])
        .await;
    let node = test.node().await;
    test.start_pod("pod", &node, &["whole", "part", "reading"]);
    test.pod_ready("pod").await;
    let read = test
        .sh(
            "pod",
            "cat /whole/top /whole/team/data/word /part/word /reading/data/word",
        )
        .unwrap();
    assert_eq!(read, "whole\npart\npart\npart\n");
    assert_eq!(
        test.sh("pod", "ls -A /whole").unwrap().trim(),
        "team\ntop",
        ".trash and .carafe-deleted are hidden"
    );
    test.sh("pod", "echo new > /part/new && sync /part/new")
        .unwrap();
    // The other mounts may remember for a second that the name was not there.
    assert_eq!(
        test.sh("pod", "sleep 1.1; cat /whole/team/data/new")
            .unwrap(),
        "new\n"
    );
    let refused = test.sh("pod", "echo x > /reading/x").unwrap_err();
    assert!(
        refused.to_string().contains("Read-only file system"),
        "{refused:#}"
    );
    let quiet = test.sh("pod", "df -h /part | tail -1").unwrap();
    println!("{}", quiet.trim());
}

#[tokio::test]
async fn a_volume_that_is_read_by_many_is_written_by_none() {
    let test = Fixture::new("existing-rox").await.with_driver().await;
    filled(&test).await;
    test.static_claim_as("ReadOnlyMany", "data", &json!({}), &[])
        .await;
    let node = test.node().await;
    test.start_pod("pod", &node, &["data"]);
    test.pod_ready("pod").await;
    assert_eq!(test.sh("pod", "cat /data/top").unwrap(), "whole\n");
    let refused = test.sh("pod", "touch /data/x").unwrap_err();
    assert!(
        refused.to_string().contains("Read-only file system"),
        "{refused:#}"
    );
}
