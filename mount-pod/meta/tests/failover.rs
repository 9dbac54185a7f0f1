//! Redis's ways to be more than one server: sentinels and clusters. A client follows
//! the master, and so does the real `juicefs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_meta::{Admin, Call, ConnectOptions, NewNode, connect_admin};
use carafe_testkit::{Faulty, Redis, RedisCluster, Sentinel, juicefs};
use carafe_types::{Error, Format, Ino, Secret};

const MASTER: &str = "the-master";
const PASSWORD: &str = "s3cr3t-of-the-test";

fn options() -> ConnectOptions {
    ConnectOptions {
        timeout: Duration::from_secs(3),
        sentinel_password: Some(Secret::new(PASSWORD)),
    }
}

async fn client(url: &str) -> Arc<dyn Admin> {
    connect_admin(url, None, options()).await.unwrap()
}

async fn formatted(url: &str) -> Arc<dyn Admin> {
    let meta = client(url).await;
    let format = Format {
        name: "failover".into(),
        uuid: "6d1f3a52-8a0b-4c8b-9a52-0b8f3a526d1f".into(),
        storage: "file".into(),
        bucket: "/tmp/".into(),
        trash_days: 0,
        ..Format::default()
    };
    meta.format(&Call::internal(), &format, false)
        .await
        .unwrap();
    meta
}

async fn make(meta: &dyn Admin, name: &str) -> Result<(), Error> {
    let (call, node) = (Call::internal(), NewNode::default());
    let made = meta.create(&call, Ino::ROOT, name.as_bytes(), &node);
    made.await.map(drop)
}

async fn names(meta: &dyn Admin) -> Vec<String> {
    let call = Call::internal();
    let page = meta.readdir(&call, Ino::ROOT, carafe_meta::Cursor(0), 1000, false);
    let entries = page.await.unwrap().entries.into_iter();
    let mut names: Vec<_> = entries
        .map(|entry| String::from_utf8(entry.name).unwrap())
        .filter(|name| name.starts_with("file"))
        .collect();
    names.sort();
    names
}

/// A server and a copy of it, which a sentinel makes the master when the first is gone.
struct Watched {
    master: Redis,
    replica: Redis,
    sentinel: Sentinel,
}

impl Watched {
    fn start() -> Self {
        let login = ["--requirepass", "pw", "--masterauth", "pw"];
        let master = Redis::start_with(&login);
        let address = master.address();
        let (host, port) = address.split_once(':').unwrap();
        let replica_of = [&login[..], &["--replicaof", host, port]].concat();
        let replica = Redis::start_with(&replica_of);
        let auth = format!("sentinel auth-pass {MASTER} pw");
        let own = format!("requirepass {PASSWORD}");
        let sentinel = Sentinel::start(MASTER, &master, &[&auth, &own]);
        let watched = Self {
            master,
            replica,
            sentinel,
        };
        watched.replicated();
        watched.seen();
        watched
    }

    fn url(&self) -> String {
        format!("redis://:pw@{MASTER},{}/1", self.sentinel.address())
    }

    fn cli(address: &str, password: &str, arguments: &[&str]) -> String {
        let port = address.rsplit(':').next().unwrap();
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", port, "-a", password, "--no-auth-warning"]);
        let output = cli.args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the copy has all that the master has.
    fn replicated(&self) {
        until("the replica is there", || {
            let copies = Self::cli(&self.master.address(), "pw", &["wait", "1", "1000"]);
            copies.trim() == "1"
        });
    }

    /// Waits until the sentinel knows of the replica.
    fn seen(&self) {
        until("the sentinel knows the replica", || {
            let ask = ["sentinel", "replicas", MASTER];
            let said = Self::cli(&self.sentinel.address(), PASSWORD, &ask);
            said.contains(&self.replica.address())
        });
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not after 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_client_follows_the_master_that_the_sentinels_name() {
    let mut watched = Watched::start();
    let url = watched.url();
    let meta = formatted(&url).await;
    make(meta.as_ref(), "file-before").await.unwrap();
    watched.replicated();
    watched.master.stop();
    make(meta.as_ref(), "file-after").await.unwrap();
    assert_eq!(names(meta.as_ref()).await, ["file-after", "file-before"]);
    let second = client(&url).await;
    assert_eq!(names(second.as_ref()).await, ["file-after", "file-before"]);
}

#[tokio::test]
async fn a_master_that_becomes_a_replica_is_left() {
    let watched = Watched::start();
    let meta = formatted(&watched.url()).await;
    make(meta.as_ref(), "file-before").await.unwrap();
    let fail_over = ["sentinel", "failover", MASTER];
    let said = Watched::cli(&watched.sentinel.address(), PASSWORD, &fail_over);
    assert_eq!(said.trim(), "OK");
    until("the former master is a replica", || {
        Watched::cli(&watched.master.address(), "pw", &["role"]).starts_with("slave")
    });
    make(meta.as_ref(), "file-after").await.unwrap();
    assert_eq!(names(meta.as_ref()).await, ["file-after", "file-before"]);
}

#[tokio::test]
async fn what_the_sentinels_do_not_know_says_so() {
    let watched = Watched::start();
    let url = watched.url().replace(MASTER, "another");
    let error = connect_admin(&url, None, options()).await.err().unwrap();
    let said = error.to_string();
    assert!(
        said.contains("another") && said.contains("no master of this name"),
        "{said}"
    );
    let without = ConnectOptions::default();
    let error = connect_admin(&watched.url(), None, without).await;
    let said = error.err().unwrap().to_string();
    assert!(said.contains("SENTINEL_PASSWORD"), "{said}");
}

#[tokio::test]
async fn a_volume_moves_between_the_nodes_of_a_cluster_while_it_is_used() {
    let cluster = RedisCluster::start();
    // Several volumes lie in several slots: some of them on the node that gives its away.
    let mut volumes = Vec::new();
    for _ in 0..6 {
        volumes.push(formatted(&cluster.fresh_url()).await);
    }
    let (moving, used) = tokio::join!(
        tokio::task::spawn_blocking(move || {
            cluster.move_slots(false);
            cluster
        }),
        async {
            for number in 0..50 {
                for meta in &volumes {
                    make(meta.as_ref(), &format!("file-{number:02}")).await?;
                }
            }
            Ok::<_, Error>(())
        }
    );
    used.unwrap();
    let _cluster = moving.unwrap();
    for meta in &volumes {
        make(meta.as_ref(), "file-last").await.unwrap();
        assert_eq!(names(meta.as_ref()).await.len(), 51, "{}", meta.name());
    }
}

fn peer(command: &[&str]) -> String {
    let mut juicefs = Command::new(juicefs());
    juicefs.env("SENTINEL_PASSWORD", PASSWORD);
    let output = juicefs.args(command).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// The peer reads what we formatted, and we what it did.
async fn shared_with_the_peer(ours: &str, theirs: &str) {
    let meta = formatted(ours).await;
    make(meta.as_ref(), "file-ours").await.unwrap();
    let said = peer(&["fsck", ours, "--path", "/", "-r"]);
    assert!(!said.contains("<ERROR>"), "{said}");
    let store = tempfile::tempdir().unwrap();
    let bucket = format!("{}/", store.path().display());
    peer(&["format", "--bucket", &bucket, theirs, "from-the-peer"]);
    let meta = client(theirs).await;
    let format = meta.load(&Call::internal()).await.unwrap();
    assert_eq!(format.name, "from-the-peer");
    make(meta.as_ref(), "file-ours").await.unwrap();
    assert_eq!(names(meta.as_ref()).await, ["file-ours"]);
}

#[tokio::test]
async fn the_peer_shares_a_volume_behind_sentinels() {
    let watched = Watched::start();
    let url = watched.url();
    shared_with_the_peer(&url, &url.replace("/1", "/2")).await;
}

#[tokio::test]
async fn the_peer_shares_a_volume_in_a_cluster() {
    let cluster = RedisCluster::start();
    shared_with_the_peer(&cluster.fresh_url(), &cluster.fresh_url()).await;
    shared_with_the_peer(&cluster.fresh_url_of_one(), &cluster.fresh_url_of_one()).await;
}
