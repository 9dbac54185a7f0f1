//! What cannot work says why, where its user looks, and leaves nothing behind.

use serde_json::json;

use crate::fixture::{Fixture, eventually, names, toolbox_pod};
use crate::mount_pods::nothing_left;
use crate::peer::with_juicefs;
use crate::storage::{Class, FileSystem, SIZE};

const PLAIN: Class = Class {
    name: "volume",
    parameters: &[],
    mount_options: &[],
};

/// A claim of a file system that is as `spoil` makes it; its event has the words.
async fn refused_claim(name: &str, spoil: impl Fn(&mut FileSystem), words: &[&str]) {
    let test = Fixture::new(name).await.with_driver().await;
    let mut system = FileSystem::new(&test).await;
    spoil(&mut system);
    test.secret("volume", &system);
    test.class(&PLAIN);
    test.ask("data", "volume", SIZE, &json!({}));
    let said = test.event("data", words).await;
    println!("{name}: {said}");
    test.show_no_secret(&system);
    assert_eq!(system.redis(&["DBSIZE"]).trim(), "0", "nothing was made");
}

#[tokio::test]
async fn a_wrong_database_password() {
    let spoil =
        |system: &mut FileSystem| system.metaurl = system.as_user("default", "not-the-password");
    refused_claim("refusals-password", spoil, &["password"]).await;
}

#[tokio::test]
async fn an_unreachable_database() {
    let spoil = |system: &mut FileSystem| {
        // A port that nobody listens on.
        system.metaurl = system.metaurl.replace(":6379/", ":6378/");
    };
    refused_claim("refusals-database", spoil, &["6378"]).await;
}

#[tokio::test]
async fn an_unreachable_store() {
    let spoil = |system: &mut FileSystem| system.bucket = system.bucket.replace(":9000", ":9001");
    refused_claim("refusals-store", spoil, &["store"]).await;
}

#[tokio::test]
async fn a_wrong_store_key() {
    let spoil = |system: &mut FileSystem| system.secret_key = "not-the-key".into();
    refused_claim("refusals-key", spoil, &["secret-key"]).await;
}

#[tokio::test]
async fn an_engine_that_is_not_built() {
    let spoil = |system: &mut FileSystem| system.metaurl = "tikv://pd:2379/x".into();
    refused_claim("refusals-engine", spoil, &["tikv", "redis", "sqlite3"]).await;
}

#[tokio::test]
async fn a_store_that_is_not_built() {
    let spoil = |system: &mut FileSystem| system.storage = "hdfs".into();
    refused_claim("refusals-hdfs", spoil, &["hdfs", "s3", "file"]).await;
}

/// A pod with a volume made by hand that cannot be mounted; pod and claim say why.
async fn refused_mount(test: &Fixture, attributes: &serde_json::Value, words: &[&str]) {
    test.static_claim("data", attributes, &[]).await;
    let node = test.node().await;
    test.apply(&toolbox_pod("pod", &node, &["data"], "true"))
        .unwrap();
    let of_pod = test.event("pod", words).await;
    let of_claim = test.event("data", words).await;
    println!("pod: {of_pod}\nclaim: {of_claim}");
    let volume = test.volume_of("data").await;
    let pods = test.mount_pods(&volume).await;
    test.delete_pod("pod").await;
    test.no_mount_pods(&volume).await;
    nothing_left(&node, &volume, &pods).await;
}

#[tokio::test]
async fn a_database_without_a_file_system() {
    let test = Fixture::new("refusals-unformatted")
        .await
        .with_driver()
        .await;
    let system = FileSystem::new(&test).await;
    test.secret("volume", &system);
    refused_mount(&test, &json!({}), &["is not formatted"]).await;
    assert_eq!(system.redis(&["DBSIZE"]).trim(), "0");
}

#[tokio::test]
async fn a_sub_directory_that_leaves_the_file_system() {
    let test = Fixture::new("refusals-dots").await.with_driver().await;
    let system = FileSystem::new(&test).await;
    test.secret("volume", &system);
    refused_mount(
        &test,
        &json!({"subPath": "a/../../b"}),
        &["a/../../b", "\"..\""],
    )
    .await;
}

#[tokio::test]
async fn a_pattern_that_leaves_the_file_system_and_one_that_names_a_path_twice() {
    let test = Fixture::new("refusals-pattern").await.with_driver().await;
    let system = FileSystem::new(&test).await;
    test.secret("volume", &system);
    test.class(&Class {
        parameters: &[("pathPattern", "${.pvc.annotations.path}")],
        ..PLAIN
    });
    test.ask("out", "volume", SIZE, &json!({"path": "a/../../b"}));
    println!("{}", test.event("out", &["a/../../b"]).await);
    test.ask("one", "volume", SIZE, &json!({"path": "same"}));
    test.claim_bound("one").await;
    test.ask("two", "volume", SIZE, &json!({"path": "same"}));
    let owner = format!("{}/one", test.namespace);
    println!("{}", test.event("two", &["same", &owner]).await);
    test.ask("inner", "volume", SIZE, &json!({"path": "same/inner"}));
    println!("{}", test.event("inner", &["same/inner", &owner]).await);
    assert_eq!(
        system.redis(&["HLEN", "dirQuota"]).trim(),
        "1",
        "only the bound claim has a quota"
    );
}

#[tokio::test]
async fn a_claim_whose_directory_is_gone() {
    let test = Fixture::new("refusals-gone").await.with_driver().await;
    let system = test.storage_class().await;
    test.claim("data").await;
    let volume = test.volume_of("data").await;
    // Its directory has the volume's name.
    with_juicefs(&system.metaurl, &format!("mv {volume} aside")).unwrap();
    let node = test.node().await;
    test.start_pod("pod", &node, &["data"]);
    println!("{}", test.event("pod", &[&volume, "is gone"]).await);
    with_juicefs(&system.metaurl, &format!("mv aside {volume}")).unwrap();
    test.pod_ready("pod").await;
    test.delete_pod("pod").await;
    test.no_mount_pods(&volume).await;
}

#[tokio::test]
async fn a_full_file_system() {
    let test = Fixture::new("refusals-full").await.with_driver().await;
    let mut system = FileSystem::new(&test).await;
    system.format_options = "inodes=2".into();
    test.secret("volume", &system);
    test.class(&PLAIN);
    for claim in ["one", "two", "three"] {
        test.ask(claim, "volume", SIZE, &json!({}));
    }
    eventually("a warning that says so", || async {
        let warnings = ["get", "events", "--field-selector=type=Warning"];
        let said = test
            .kubectl(&[&warnings[..], &["-o", "jsonpath={.items[*].message}"]].concat())
            .map_err(|error| error.to_string())?;
        if said.contains("no space left") {
            println!("{said}");
            return Ok(());
        }
        Err(said)
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_nobody_can_mount_leaves_no_mount_pod() {
    let test = Fixture::new("refusals-leak").await.with_driver().await;
    let mut system = test.storage_class().await;
    test.claim("data").await;
    // The Secret is spoiled between making and mounting.
    let whole = system.metaurl.clone();
    system.metaurl = system.as_user("default", "not-the-password");
    test.secret("volume", &system);
    let node = test.node().await;
    test.apply(&toolbox_pod("pod", &node, &["data"], "true"))
        .unwrap();
    println!("{}", test.event("pod", &["password"]).await);
    test.show_no_secret(&system);
    let volume = test.volume_of("data").await;
    let pods = test.mount_pods(&volume).await;
    println!("mount pods meanwhile: {:?}", names(&pods));
    test.delete_pod("pod").await;
    test.no_mount_pods(&volume).await;
    nothing_left(&node, &volume, &pods).await;
    // Or else the claim could never be deleted.
    system.metaurl = whole;
    test.secret("volume", &system);
}
