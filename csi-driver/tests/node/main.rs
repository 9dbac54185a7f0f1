//! The node plugin with real sockets and real FUSE mounts. Pods are threads of the
//! test that speak to the keeper as a mount pod does. Needs root and /dev/fuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod fuse;
mod lives;
mod pods;
mod sanity;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use carafe_csi_driver::{
    config::{MountPodArgs, NodeArgs},
    mount::MountTable,
    node::{Claim, Claims, NodeIdentity, NodeService, SOCKET_VOLUME, Stager},
    proto::csi::{
        NodeGetVolumeStatsRequest, NodePublishVolumeRequest, NodeStageVolumeRequest,
        NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, VolumeCapability,
        node_server::Node,
        volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
    },
};
use parking_lot::Mutex;
use pods::{Behaviour, FakePods};
use tonic::{Code, Request, Status};

/// Remembers what claims were told.
#[derive(Default)]
struct FakeClaims {
    warnings: Mutex<Vec<String>>,
}

#[tonic::async_trait]
impl Claims for FakeClaims {
    async fn claim_of(
        &self,
        _driver: &str,
        _volume: &str,
        _context: &BTreeMap<String, String>,
    ) -> Option<Claim> {
        Some(Claim {
            namespace: "team".into(),
            name: "data".into(),
        })
    }

    async fn warn(&self, claim: &Claim, reason: &str, message: &str) {
        self.warnings.lock().push(format!(
            "{}/{} {reason}: {message}",
            claim.namespace, claim.name
        ));
    }
}

/// A node: its directories, its pods, and the plugin's present life.
struct World {
    root: tempfile::TempDir,
    pods: Arc<FakePods>,
    claims: Arc<FakeClaims>,
    service: NodeService,
}

impl World {
    fn new(behaviour: Behaviour) -> Self {
        let root = tempfile::tempdir().unwrap();
        let pods = Arc::new(FakePods::new(
            root.path().to_owned(),
            SOCKET_VOLUME,
            behaviour,
        ));
        let claims = Arc::new(FakeClaims::default());
        let service = NodeService::new(Arc::new(stager(root.path(), &pods, &claims)));
        Self {
            root,
            pods,
            claims,
            service,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The plugin dies, and another life of it starts.
    async fn restart(&mut self) {
        assert_eq!(self.reborn().await, 1);
    }

    /// As a restart; answers how many pods it waits for.
    async fn reborn(&mut self) -> usize {
        let stager = Arc::new(stager(self.root.path(), &self.pods, &self.claims));
        // The old life's descriptors and sockets go first, as a process's do.
        self.service = NodeService::new(stager.clone());
        tokio::time::sleep(Duration::from_millis(50)).await;
        stager.recover().await.unwrap()
    }

    async fn stage(&self, secrets: HashMap<String, String>, flags: &[&str]) -> Result<(), Status> {
        let request = NodeStageVolumeRequest {
            volume_id: "pvc-1".into(),
            staging_target_path: self.text("stage"),
            volume_capability: Some(capability(flags)),
            volume_context: HashMap::from([("subPath".into(), "pvc-1".into())]),
            secrets,
            ..NodeStageVolumeRequest::default()
        };
        self.service
            .node_stage_volume(Request::new(request))
            .await
            .map(drop)
    }

    async fn publish(
        &self,
        target: &str,
        readonly: bool,
        secrets: HashMap<String, String>,
    ) -> Result<(), Status> {
        let request = NodePublishVolumeRequest {
            volume_id: "pvc-1".into(),
            staging_target_path: self.text("stage"),
            target_path: self.text(target),
            volume_capability: Some(capability(&[])),
            readonly,
            secrets,
            ..NodePublishVolumeRequest::default()
        };
        self.service
            .node_publish_volume(Request::new(request))
            .await
            .map(drop)
    }

    async fn unpublish(&self, target: &str) {
        let request = NodeUnpublishVolumeRequest {
            volume_id: "pvc-1".into(),
            target_path: self.text(target),
        };
        self.service
            .node_unpublish_volume(Request::new(request))
            .await
            .unwrap();
    }

    async fn unstage(&self) -> Result<(), Status> {
        let request = NodeUnstageVolumeRequest {
            volume_id: "pvc-1".into(),
            staging_target_path: self.text("stage"),
        };
        self.service
            .node_unstage_volume(Request::new(request))
            .await
            .map(drop)
    }

    fn mounted(&self, name: &str) -> bool {
        MountTable::read().unwrap().at(&self.path(name)).is_some()
    }

    /// Lists the directory in a process of its own, which may hang without harm.
    async fn lists(&self, name: &str) -> bool {
        let mut ls = tokio::process::Command::new("ls");
        let listing = ls.arg(self.path(name)).kill_on_drop(true).output();
        match tokio::time::timeout(Duration::from_secs(5), listing).await {
            Ok(output) => {
                let output = output.unwrap();
                print!("{}", String::from_utf8_lossy(&output.stderr));
                output.status.success()
            }
            Err(_) => false,
        }
    }

    /// The cache directories that a volume uses: those on their way out do not count.
    fn caches(&self) -> Vec<String> {
        let entries = self.path("cache").read_dir().into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".retired"))
            .collect()
    }

    fn assert_nothing_left(&self) {
        let root = self.path("");
        let left: Vec<_> = MountTable::read()
            .unwrap()
            .of_type("fuse.carafe")
            .filter(|m| m.target.starts_with(&root))
            .cloned()
            .collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.pods.running(), Vec::<String>::new());
        assert_eq!(self.caches(), Vec::<String>::new());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in ["a", "b", "stage"] {
            let _ = carafe_csi_driver::mount::unmount_lazily(&self.path(name));
        }
        self.pods.kill_all();
    }
}

fn stager(root: &Path, pods: &Arc<FakePods>, claims: &Arc<FakeClaims>) -> Stager {
    let config = NodeArgs {
        node_name: "n1".into(),
        kubelet_dir: root.to_owned(),
        kubelet_endpoint: None,
        stage_timeout: Duration::from_secs(5),
        release_timeout: Duration::from_secs(5),
        cache_dirs: vec![root.join("cache")],
        keep_cache: false,
        mount_pod: MountPodArgs {
            namespace: "carafe-system".into(),
            image: "carafe:1".into(),
            image_pull_policy: "Never".into(),
            image_pull_secrets: Vec::new(),
            priority_class: String::new(),
            cpu_request: String::new(),
            memory_request: String::new(),
            cpu_limit: String::new(),
            memory_limit: String::new(),
            log: "info".into(),
            io_threads: 3,
        },
    };
    let node = NodeIdentity {
        name: "n1".into(),
        uid: "uid".into(),
    };
    Stager::new(
        config,
        "csi.carafe.io".into(),
        node,
        pods.clone(),
        claims.clone(),
    )
}

fn secrets(key: &str) -> HashMap<String, String> {
    let fields = [
        ("name", "demo"),
        ("metaurl", "redis://:hunter2@redis/1"),
        ("secret-key", key),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn capability(flags: &[&str]) -> VolumeCapability {
    let mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume {
            mount_flags,
            ..MountVolume::default()
        })),
        access_mode: Some(AccessMode {
            mode: Mode::MultiNodeMultiWriter.into(),
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_mounted_used_and_gone_again() {
    let world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.stage(secrets("one"), &[]).await.unwrap();
    assert_eq!(
        world.pods.made(),
        1,
        "one mount pod, however often it is staged"
    );
    world.publish("a", false, HashMap::new()).await.unwrap();
    world.publish("b", true, HashMap::new()).await.unwrap();
    world.publish("b", true, HashMap::new()).await.unwrap();
    assert!(world.lists("a").await && world.lists("b").await);
    let table = MountTable::read().unwrap();
    assert!(
        !table.at(&world.path("a")).unwrap().read_only
            && table.at(&world.path("b")).unwrap().read_only
    );
    assert_eq!(table.count_at(&world.path("b")), 1);

    let pod = world.pods.state("pvc-1");
    let arguments = pod.arguments.lock().clone().unwrap();
    assert_eq!(
        (arguments.subdir.as_str(), arguments.claim.as_str()),
        ("pvc-1", "data")
    );
    assert_eq!(
        *pod.clones.lock(),
        2,
        "three threads: the device and two clones"
    );
    assert!(
        pod.cache_is_closed_in(),
        "`..` of the cache directory stays there"
    );
    assert_eq!(world.caches().len(), 1);

    world.unpublish("a").await;
    world.unpublish("a").await;
    assert!(world.lists("b").await, "the other pod's mount stays");
    world.unpublish("b").await;
    world.unstage().await.unwrap();
    world.unstage().await.unwrap();
    assert!(!world.mounted("stage") && !world.path("a").exists());
    assert_eq!(
        pod.told.lock().as_slice(),
        ["release", "end"],
        "flushed first, then ended"
    );
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_reaches_the_mount() {
    let world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.publish("a", false, secrets("one")).await.unwrap();
    world.publish("a", false, secrets("two")).await.unwrap();
    world.publish("a", false, secrets("two")).await.unwrap();
    let pod = world.pods.state("pvc-1");
    pod.wait_told(1).await;
    assert_eq!(pod.told.lock().as_slice(), ["secret two"]);
    world.unpublish("a").await;
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_failure_is_told_and_nothing_stays() {
    let world = World::new(Behaviour::Fail(
        "the metadata engine at redis/1 refused the login".into(),
    ));
    let status = world.stage(secrets("one"), &[]).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("refused the login"), "{status}");
    assert!(!status.message().contains("hunter2"));
    let warnings = world.claims.warnings.lock().clone();
    assert!(
        warnings.len() == 1
            && warnings[0].starts_with("team/data MountFailed: ")
            && warnings[0].contains("refused the login"),
        "{warnings:?}"
    );
    world.assert_nothing_left();
    world.unstage().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_plugin_gets_the_mount_back() {
    let mut world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.publish("a", false, secrets("one")).await.unwrap();
    for _ in 0..3 {
        world.restart().await;
        assert!(
            world.lists("a").await,
            "the mount is served without the plugin"
        );
        world.publish("a", false, secrets("one")).await.unwrap();
    }
    world.stage(secrets("one"), &[]).await.unwrap();
    assert_eq!(world.pods.made(), 1);
    world.publish("b", false, secrets("two")).await.unwrap();
    assert!(world.lists("b").await);
    let stats = stats(&world, "a").await;
    assert!(!stats.1, "healthy");
    world.unpublish("a").await;
    world.unpublish("b").await;
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_of_the_pod_gets_all_that_the_first_had() {
    let world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.publish("a", false, HashMap::new()).await.unwrap();
    let pod = world.pods.state("pvc-1");
    pod.kill_client();
    assert!(stats(&world, "a").await.1, "abnormal while nobody serves");
    world.pods.start_client("pvc-1");
    world.stage(secrets("one"), &[]).await.unwrap();
    assert!(
        world.lists("a").await,
        "the second client serves the same mount"
    );
    assert_eq!(
        *pod.init.lock(),
        Some(vec![1, 2, 3]),
        "and knows the INIT of the first"
    );
    assert!(*pod.had_region.lock(), "and has its memory");
    world.unpublish("a").await;
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_with_only_a_publish_secret_is_staged_by_its_first_publish() {
    let world = World::new(Behaviour::Serve);
    world.stage(HashMap::new(), &[]).await.unwrap();
    assert!(!world.mounted("stage"));
    let status = world.publish("a", false, HashMap::new()).await.unwrap_err();
    assert!(
        status.code() == Code::FailedPrecondition
            && status.message().contains("nodePublishSecretRef"),
        "{status}"
    );
    world.publish("a", false, secrets("one")).await.unwrap();
    assert!(world.lists("a").await);
    world.unpublish("a").await;
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_pod_is_found_by_the_next_call() {
    let world = World::new(Behaviour::Slow(Duration::from_secs(6)));
    let status = world.stage(secrets("one"), &[]).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    world.stage(secrets("one"), &[]).await.unwrap();
    assert_eq!(world.pods.made(), 1);
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_for_one_volume_make_one_mount() {
    let world = Arc::new(World::new(Behaviour::Serve));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let world = world.clone();
        calls.spawn(async move { world.stage(secrets("one"), &[]).await });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(
        (
            world.pods.made(),
            MountTable::read().unwrap().count_at(&world.path("stage"))
        ),
        (1, 1)
    );
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_before_anything_is_made() {
    let world = World::new(Behaviour::Serve);
    for flags in [
        &["cache-dir=/etc"][..],
        &["no-such-option"],
        &["subdir=../x"],
    ] {
        let status = world.stage(secrets("one"), flags).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    let incomplete = HashMap::from([("name".to_owned(), "demo".to_owned())]);
    let status = world.stage(incomplete, &[]).await.unwrap_err();
    assert!(
        status.code() == Code::InvalidArgument && status.message().contains("metaurl"),
        "{status}"
    );
    assert_eq!(world.pods.made(), 0);
}

/// The used inodes, and whether the volume is abnormal.
async fn stats(world: &World, target: &str) -> (i64, bool) {
    let request = NodeGetVolumeStatsRequest {
        volume_id: "pvc-1".into(),
        volume_path: world.text(target),
        ..NodeGetVolumeStatsRequest::default()
    };
    let stats = world
        .service
        .node_get_volume_stats(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    let inodes = stats.usage.last().map_or(0, |usage| usage.used);
    (inodes, stats.volume_condition.unwrap().abnormal)
}
