//! Credentials change under a running mount.

use std::process::Command;
use std::time::Duration;

use carafe_e2e::shell;
use carafe_e2e::tools::Tools;
use k8s_openapi::api::core::v1::Pod;

use crate::fixture::{Fixture, within};
use crate::storage::{Class, FileSystem};

/// Kubelet repeats a publish once in about a minute and a half.
const REPUBLISH: Duration = Duration::from_secs(240);

/// A pod that has a volume of `system`; answers its mount pod.
async fn mounted(test: &Fixture, system: &FileSystem) -> Pod {
    test.secret("volume", system);
    test.class(&Class {
        name: "volume",
        parameters: &[],
        // Nothing may be answered from a cache.
        mount_options: &[
            "cache-size=0",
            "attr-cache=0",
            "entry-cache=0",
            "dir-entry-cache=0",
        ],
    });
    test.claim("data").await;
    let node = test.node().await;
    test.start_pod("pod", &node, &["data"]);
    test.pod_ready("pod").await;
    write_and_read(test, "before").unwrap();
    test.mount_pod(&test.volume_of("data").await).await
}

/// The mount pod is the one from before, and no container of it has started again.
async fn assert_not_restarted(test: &Fixture, before: &Pod) {
    let now = test.mount_pod(&test.volume_of("data").await).await;
    let life = |pod: &Pod| {
        let containers = pod.status.as_ref().unwrap().container_statuses.as_ref();
        let containers = containers.unwrap().iter();
        let starts = containers.map(|one| (one.container_id.clone(), one.restart_count));
        (pod.metadata.uid.clone(), starts.collect::<Vec<_>>())
    };
    assert_eq!(life(&now), life(before), "the mount pod lives on");
}

fn write_and_read(test: &Fixture, name: &str) -> anyhow::Result<()> {
    // A call that waits for ever must not hold up the whole run.
    let script = format!(
        "timeout -s KILL 200 sh -ec 'head -c 300000 /dev/urandom > /data/{name} && sync /data/{name} && md5sum /data/* > /dev/null'"
    );
    test.sh("pod", &script).map(drop)
}

#[tokio::test]
async fn a_new_database_password_works_without_a_restart() {
    let test = Fixture::new("rotation-password").await.with_driver().await;
    let mut system = FileSystem::new(&test).await;
    let user = format!("rotating-{}", std::process::id());
    let set_password = |password: &str| {
        let password = format!(">{password}");
        system.redis(&[
            "ACL", "SETUSER", &user, "reset", "on", &password, "~*", "&*", "+@all",
        ]);
    };
    set_password("old-password");
    system.metaurl = system.as_user(&user, "old-password");
    let mount_pod = mounted(&test, &system).await;
    let started = test.sh("pod", "stat -c %Y /proc/1").unwrap();

    let set_password = |password: &str| {
        let password = format!(">{password}");
        system.redis(&[
            "ACL", "SETUSER", &user, "reset", "on", &password, "~*", "&*", "+@all",
        ]);
        system.redis(&["CLIENT", "KILL", "USER", &user]);
    };
    set_password("new-password");
    let mut changed = system.clone();
    changed.metaurl = system.as_user(&user, "new-password");
    test.secret("volume", &changed);
    // It waits for the new password, and is not failed meanwhile.
    within(REPUBLISH, "a write with the new password", || async {
        write_and_read(&test, "after").map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(test.sh("pod", "stat -c %Y /proc/1").unwrap(), started);
    assert_not_restarted(&test, &mount_pod).await;
    test.delete_pod("pod").await;
    test.delete_claim("data").await;
    system.redis(&["ACL", "DELUSER", &user]);
}

#[tokio::test]
async fn a_new_store_key_works_without_a_restart() {
    let test = Fixture::new("rotation-key").await.with_driver().await;
    let mut system = FileSystem::new(&test).await;
    let root = system.clone();
    let names = ["old", "new"].map(|age| format!("{age}-{}", std::process::id()));
    for name in &names {
        s3_admin(
            &root,
            &[
                "create-user",
                "--access",
                name,
                "--secret",
                "its-secret-key",
                "--role",
                "admin",
            ],
        );
    }
    (system.access_key, system.secret_key) = (names[0].clone(), "its-secret-key".into());
    let mount_pod = mounted(&test, &system).await;

    (system.access_key, system.secret_key) = (names[1].clone(), "its-secret-key".into());
    test.secret("volume", &system);
    s3_admin(&root, &["delete-user", "--access", &names[0]]);
    within(REPUBLISH, "a write with the new key", || async {
        write_and_read(&test, "after").map_err(|error| error.to_string())
    })
    .await;
    assert_not_restarted(&test, &mount_pod).await;
    test.delete_pod("pod").await;
    test.delete_claim("data").await;
    s3_admin(&root, &["delete-user", "--access", &names[1]]);
}

/// The S3 server's administrator; the keys go through the environment.
fn s3_admin(root: &FileSystem, words: &[&str]) {
    let program = Tools::find().unwrap().program("versitygw").unwrap();
    let (endpoint, _) = root.bucket.rsplit_once('/').unwrap();
    let mut admin = Command::new(program);
    admin
        .env("ADMIN_ACCESS_KEY", &root.access_key)
        .env("ADMIN_SECRET_KEY", &root.secret_key)
        .args(["admin", "--endpoint-url", endpoint]);
    shell::run(admin.args(words)).unwrap();
}
