//! The controller against real engines: SQLite everywhere, Redis where it is wanted,
//! with a directory as the object store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use carafe_api::VolumeSecret;
use carafe_csi_driver::controller::FileSystem;
use carafe_csi_driver::{
    controller::{ClaimTags, ControllerService, Engines, Tags, reclaim},
    proto::csi::{
        CapacityRange, ControllerExpandVolumeRequest, CreateVolumeRequest, DeleteVolumeRequest,
        ValidateVolumeCapabilitiesRequest, Volume, VolumeCapability, VolumeContentSource,
        controller_server::Controller,
        volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode},
    },
};
use carafe_meta::{Call, ConnectOptions, Cursor, NewNode, SliceCommit};
use carafe_object::Object;
use carafe_testkit::{Redis, S3};
use carafe_types::{BlockKey, FileType, Ino, Slice, Timestamp};
use tonic::{Code, Request, Status};

struct OneClaim;

#[tonic::async_trait]
impl ClaimTags for OneClaim {
    async fn tags(&self, namespace: &str, claim: &str) -> Result<Tags, String> {
        assert_eq!((namespace, claim), ("team", "data"));
        Ok(Tags {
            labels: [("tier".to_owned(), "gold".to_owned())].into(),
            ..Tags::default()
        })
    }
}

struct World {
    root: tempfile::TempDir,
    engines: Arc<Engines>,
    service: ControllerService,
}

impl World {
    fn new() -> Self {
        let engines = Arc::new(Engines::new(Duration::from_secs(5)));
        let service = ControllerService::new(engines.clone(), Arc::new(OneClaim));
        Self {
            root: tempfile::tempdir().unwrap(),
            engines,
            service,
        }
    }

    fn secrets(&self) -> HashMap<String, String> {
        let root = self.root.path().display();
        map(&[
            ("name", "demo"),
            ("metaurl", &format!("sqlite3://{root}/meta.db")),
            ("storage", "file"),
            ("bucket", &format!("{root}/store/")),
        ])
    }

    fn request(&self, name: &str, parameters: &[(&str, &str)]) -> CreateVolumeRequest {
        let claim = [
            ("csi.storage.k8s.io/pvc/name", "data"),
            ("csi.storage.k8s.io/pvc/namespace", "team"),
        ];
        CreateVolumeRequest {
            name: name.into(),
            capacity_range: Some(CapacityRange {
                required_bytes: 1 << 30,
                limit_bytes: 0,
            }),
            volume_capabilities: vec![capability()],
            parameters: map(&[parameters, &claim].concat()),
            secrets: self.secrets(),
            ..CreateVolumeRequest::default()
        }
    }

    async fn create(&self, request: CreateVolumeRequest) -> Result<Volume, Status> {
        let made = self.service.create_volume(Request::new(request)).await?;
        Ok(made.into_inner().volume.unwrap())
    }

    async fn delete(&self, id: &str) -> Result<(), Status> {
        let request = DeleteVolumeRequest {
            volume_id: id.into(),
            secrets: self.secrets(),
        };
        self.service
            .delete_volume(Request::new(request))
            .await
            .map(drop)
    }

    async fn expand(&self, id: &str, bytes: i64) -> Result<i64, Status> {
        let request = ControllerExpandVolumeRequest {
            volume_id: id.into(),
            capacity_range: Some(CapacityRange {
                required_bytes: bytes,
                limit_bytes: 0,
            }),
            secrets: self.secrets(),
            volume_capability: Some(capability()),
        };
        Ok(self
            .service
            .controller_expand_volume(Request::new(request))
            .await?
            .into_inner()
            .capacity_bytes)
    }

    fn secret(&self) -> VolumeSecret {
        VolumeSecret::from_fields(&self.secrets()).unwrap()
    }
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn capability() -> VolumeCapability {
    VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume::default())),
        access_mode: Some(AccessMode {
            mode: Mode::MultiNodeMultiWriter.into(),
        }),
    }
}

#[tokio::test]
async fn a_claims_directory_is_made_with_its_quota_and_its_owner() {
    let world = World::new();
    let volume = world.create(world.request("pvc-1", &[])).await.unwrap();
    assert_eq!(
        (volume.volume_id.as_str(), volume.capacity_bytes),
        ("pvc-1", 1 << 30)
    );
    assert_eq!(volume.volume_context["subPath"], "pvc-1");
    assert_eq!(
        volume.volume_context["carafe.io/persistentvolumeclaim"],
        "data"
    );
    let again = world.create(world.request("pvc-1", &[])).await.unwrap();
    assert_eq!(again, volume, "asked again, answered the same");

    let system = world.engines.open(&world.secret(), false).await.unwrap();
    let call = Call::internal();
    let (ino, attr) = system
        .meta
        .resolve(&call, Ino::ROOT, b"pvc-1")
        .await
        .unwrap();
    assert_eq!(attr.mode, 0o777);
    assert_eq!(
        system
            .meta
            .quota(&call, ino)
            .await
            .unwrap()
            .unwrap()
            .quota
            .max_bytes,
        1 << 30
    );
    assert_eq!(
        system
            .meta
            .volume(&call, "pvc-1")
            .await
            .unwrap()
            .unwrap()
            .owner,
        "team/data"
    );
    assert!(
        carafe_object::read_uuid(&system.store)
            .await
            .unwrap()
            .is_some(),
        "formatted as the peer does"
    );
}

#[tokio::test]
async fn once_open_a_volume_takes_milliseconds() {
    let world = World::new();
    world.create(world.request("first", &[])).await.unwrap();
    let start = std::time::Instant::now();
    for number in 0..20 {
        world
            .create(world.request(&format!("pvc-{number}"), &[]))
            .await
            .unwrap();
    }
    println!("CreateVolume on SQLite: {:?} each", start.elapsed() / 20);
}

#[tokio::test]
async fn a_pattern_chooses_the_path_and_two_claims_do_not_share_one_unasked() {
    let world = World::new();
    let pattern = [(
        "pathPattern",
        "${.pvc.namespace}/${.pvc.labels.tier}/${.pvc.name}",
    )];
    let volume = world
        .create(world.request("pvc-1", &pattern))
        .await
        .unwrap();
    assert_eq!(volume.volume_context["subPath"], "team/gold/data");
    let status = world
        .create(world.request("pvc-2", &pattern))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().contains("share: \"true\"") && status.message().contains("team/data"),
        "{status}"
    );

    let shared = [("pathPattern", "shared"), ("share", "true")];
    world.create(world.request("pvc-3", &shared)).await.unwrap();
    world.create(world.request("pvc-4", &shared)).await.unwrap();
    world.delete("pvc-3").await.unwrap();
    let system = world.engines.open(&world.secret(), false).await.unwrap();
    assert!(
        system
            .meta
            .resolve(&Call::internal(), Ino::ROOT, b"shared")
            .await
            .is_ok(),
        "the last user deletes"
    );
    world.delete("pvc-4").await.unwrap();
    assert!(
        system
            .meta
            .resolve(&Call::internal(), Ino::ROOT, b"shared")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_path_that_leaves_the_volume_is_refused() {
    let world = World::new();
    for pattern in ["../x", "a/../../b", "a//b", ".trash/x"] {
        let status = world
            .create(world.request("pvc-1", &[("pathPattern", pattern)]))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{pattern}: {status}");
    }
}

#[tokio::test]
async fn a_class_with_a_subdir_makes_its_volumes_below_it() {
    let world = World::new();
    let with = |subdir| world.request("pvc-1", &[("mountOptions", subdir)]);
    let status = world.create(with("subdir=../x")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let volume = world.create(with("subdir=/teams/a")).await.unwrap();
    assert_eq!(
        volume.volume_context["subPath"], "pvc-1",
        "which the node plugin looks for below subdir"
    );
    let system = world.engines.open(&world.secret(), false).await.unwrap();
    let (meta, call) = (&system.meta, Call::internal());
    let (ino, _) = meta
        .resolve(&call, Ino::ROOT, b"teams/a/pvc-1")
        .await
        .unwrap();
    let quota = meta.quota(&call, ino).await.unwrap().unwrap();
    assert_eq!(quota.quota.max_bytes, 1 << 30);
    world.delete("pvc-1").await.unwrap();
    let gone = meta.resolve(&call, Ino::ROOT, b"teams/a/pvc-1").await;
    assert!(gone.is_err(), "{gone:?}");
}

#[tokio::test]
async fn a_volume_grows_and_never_shrinks() {
    let world = World::new();
    world.create(world.request("pvc-1", &[])).await.unwrap();
    assert_eq!(world.expand("pvc-1", 2 << 30).await.unwrap(), 2 << 30);
    assert_eq!(
        world.expand("pvc-1", 1 << 30).await.unwrap(),
        2 << 30,
        "already larger is fine"
    );
    let system = world.engines.open(&world.secret(), false).await.unwrap();
    let record = system
        .meta
        .volume(&Call::internal(), "pvc-1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        system
            .meta
            .quota(&Call::internal(), record.ino)
            .await
            .unwrap()
            .unwrap()
            .quota
            .max_bytes,
        2 << 30
    );
    assert_eq!(
        world.expand("none", 1 << 30).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_deleted_volume_is_gone_at_once_and_reclaimed_later() {
    let world = World::new();
    world.create(world.request("pvc-1", &[])).await.unwrap();
    world.delete("pvc-1").await.unwrap();
    world.delete("pvc-1").await.unwrap();
    let system = world.engines.open(&world.secret(), false).await.unwrap();
    assert!(
        system
            .meta
            .resolve(&Call::internal(), Ino::ROOT, b"pvc-1")
            .await
            .is_err()
    );
    assert_eq!(
        system
            .meta
            .volume(&Call::internal(), "pvc-1")
            .await
            .unwrap(),
        None
    );
    assert_eq!(reclaim(&system).await.failures, []);
}

#[tokio::test]
async fn an_equal_name_with_another_size_exists_already() {
    let world = World::new();
    world.create(world.request("pvc-1", &[])).await.unwrap();
    let mut larger = world.request("pvc-1", &[]);
    larger.capacity_range = Some(CapacityRange {
        required_bytes: 5 << 30,
        limit_bytes: 0,
    });
    assert_eq!(
        world.create(larger).await.unwrap_err().code(),
        Code::AlreadyExists
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_and_no_secret_with_it() {
    let world = World::new();
    let with = |key: &str, value: &str| {
        let mut request = world.request("pvc-1", &[]);
        request.secrets.insert(key.into(), value.into());
        request
    };
    let cases = [
        (
            with("metaurl", "tikv://user:hunter2@db/x"),
            Code::InvalidArgument,
            "redis://",
        ),
        (
            with("metaurl", "nonsense://user:hunter2@db/x"),
            Code::InvalidArgument,
            "sqlite3://",
        ),
        (
            with("storage", "ceph"),
            Code::InvalidArgument,
            "built in are",
        ),
        (
            with("format-options", "trash-dais=1"),
            Code::InvalidArgument,
            "trash-dais",
        ),
        (
            with("metaurl", "redis://:hunter2@127.0.0.1:1/0"),
            Code::Unavailable,
            "cannot be reached",
        ),
    ];
    for (request, code, text) in cases {
        let status = world.create(request).await.unwrap_err();
        assert!(
            status.code() == code && status.message().contains(text),
            "{status}"
        );
        assert!(!status.message().contains("hunter2"), "{status}");
    }
    let none = CreateVolumeRequest {
        secrets: HashMap::new(),
        ..world.request("pvc-1", &[])
    };
    let status = world.create(none).await.unwrap_err();
    assert!(
        status.message().contains("provisioner-secret-name"),
        "{status}"
    );
    let unknown = world
        .create(world.request("pvc-1", &[("pathPatern", "x")]))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_stops_the_claim() {
    let world = World::new();
    let mut request = world.request("pvc-1", &[]);
    request.secrets.insert("storage".into(), "minio".into());
    request
        .secrets
        .insert("bucket".into(), "http://127.0.0.1:1/bucket".into());
    request.secrets.insert("access-key".into(), "key".into());
    request
        .secrets
        .insert("secret-key".into(), "hunter2".into());
    let status = world.create(request).await.unwrap_err();
    assert!(
        [Code::Unavailable, Code::DeadlineExceeded].contains(&status.code()),
        "{status}"
    );
    let unformatted = world.engines.open(&world.secret(), false).await;
    assert!(unformatted.is_err(), "nothing was formatted");
}

#[tokio::test]
async fn another_file_systems_database_is_refused() {
    let world = World::new();
    world.create(world.request("pvc-1", &[])).await.unwrap();
    let mut other = world.request("pvc-2", &[]);
    other.secrets.insert("name".into(), "another".into());
    let status = world.create(other).await.unwrap_err();
    assert!(
        status.code() == Code::FailedPrecondition && status.message().contains("\"demo\""),
        "{status}"
    );
}

#[tokio::test]
async fn capabilities_and_sources_that_are_not_had_are_refused() {
    let world = World::new();
    let block = VolumeCapability {
        access_type: Some(AccessType::Block(BlockVolume {})),
        ..capability()
    };
    let request = CreateVolumeRequest {
        volume_capabilities: vec![block.clone()],
        ..world.request("pvc-1", &[])
    };
    assert_eq!(
        world.create(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let request = CreateVolumeRequest {
        volume_content_source: Some(VolumeContentSource::default()),
        ..world.request("pvc-1", &[])
    };
    assert_eq!(
        world.create(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );

    world.create(world.request("pvc-1", &[])).await.unwrap();
    let validate = |id: &str, capability: VolumeCapability| {
        let request = ValidateVolumeCapabilitiesRequest {
            volume_id: id.into(),
            volume_capabilities: vec![capability],
            secrets: world.secrets(),
            ..ValidateVolumeCapabilitiesRequest::default()
        };
        world
            .service
            .validate_volume_capabilities(Request::new(request))
    };
    assert!(
        validate("pvc-1", capability())
            .await
            .unwrap()
            .into_inner()
            .confirmed
            .is_some()
    );
    assert!(
        validate("pvc-1", block)
            .await
            .unwrap()
            .into_inner()
            .confirmed
            .is_none()
    );
    assert_eq!(
        validate("none", capability()).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn many_claims_at_once_format_once_and_all_succeed() {
    let world = Arc::new(World::new());
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..20 {
        let world = world.clone();
        calls.spawn(async move {
            world
                .create(world.request(&format!("pvc-{}", number % 10), &[]))
                .await
        });
    }
    while let Some(made) = calls.join_next().await {
        made.unwrap().unwrap();
    }
}

fn on_redis(redis: &Redis, s3: &S3) -> HashMap<String, String> {
    map(&[
        ("name", "demo"),
        ("metaurl", &redis.url(1)),
        ("storage", "s3"),
        ("bucket", &format!("{}/bucket", s3.endpoint())),
        ("access-key", S3::ACCESS_KEY),
        ("secret-key", S3::SECRET_KEY),
    ])
}

#[tokio::test]
async fn redis_and_s3_hold_volumes_too() {
    let (redis, s3) = (Redis::start(), S3::start("bucket"));
    let world = World::new();
    let secrets = on_redis(&redis, &s3);
    let request = |name: &str| CreateVolumeRequest {
        secrets: secrets.clone(),
        ..world.request(name, &[])
    };
    world.create(request("pvc-0")).await.unwrap();
    let mut longest = Duration::ZERO;
    for number in 1..=20 {
        let start = std::time::Instant::now();
        world
            .create(request(&format!("pvc-{number}")))
            .await
            .unwrap();
        longest = longest.max(start.elapsed());
    }
    println!("CreateVolume on Redis and S3: {longest:?} at most");
    let delete = DeleteVolumeRequest {
        volume_id: "pvc-1".into(),
        secrets: secrets.clone(),
    };
    let deleted = world.service.delete_volume(Request::new(delete)).await;
    deleted.unwrap();
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_key_are_said() {
    let redis = Redis::start_with(&["--requirepass", "right", "--appendonly", "yes"]);
    let s3 = S3::start("bucket");
    let world = World::new();
    let mut request = world.request("pvc-1", &[]);
    request.secrets = on_redis(&redis, &s3);
    let status = world.create(request.clone()).await.unwrap_err();
    assert!(status.message().contains("wants a password"), "{status}");
    request
        .secrets
        .insert("meta-password".into(), "hunter2".into());
    let status = world.create(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(!status.message().contains("hunter2"), "{status}");
    request
        .secrets
        .insert("meta-password".into(), "right".into());
    request
        .secrets
        .insert("secret-key".into(), "hunter2".into());
    let status = world.create(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    request
        .secrets
        .insert("secret-key".into(), S3::SECRET_KEY.into());
    world.create(request).await.unwrap();
}

/// `dir/inner/file` in the volume, with an object behind it. Answers the object's key.
async fn fill(system: &FileSystem, volume: &[u8]) -> String {
    let (call, meta) = (Call::internal(), &system.meta);
    let dir = NewNode {
        kind: FileType::Directory,
        ..NewNode::default()
    };
    let (mut at, _) = meta.resolve(&call, Ino::ROOT, volume).await.unwrap();
    for name in [&b"dir"[..], b"inner"] {
        at = meta.create(&call, at, name, &dir).await.unwrap().0;
    }
    let made = meta
        .create_open(&call, at, b"file", &NewNode::default(), true, false)
        .await;
    let ino = made.unwrap().0;
    meta.close(&call, ino).await.unwrap();
    let slice = meta.take_slice_ids(&call).await.unwrap().next;
    let key = BlockKey {
        slice,
        index: 0,
        size: 5,
    };
    let key = key.object_key(system.format.hash_prefix);
    let data = Object::from(vec![b"bytes".to_vec().into()]);
    system.store.put(&key, data).await.unwrap();
    let commit = SliceCommit {
        ino,
        index: 0,
        slice: Slice::whole(0, slice, 5),
        mtime: Timestamp::default(),
    };
    let done = meta.commit(&call, &[commit]).await.unwrap();
    done[0].1.as_ref().unwrap();
    key
}

async fn names(system: &FileSystem, dir: Ino) -> Vec<(String, Ino)> {
    let page = system
        .meta
        .readdir(&Call::internal(), dir, Cursor(0), 100, false)
        .await;
    let entries = page.unwrap().entries.into_iter();
    entries
        .map(|entry| (String::from_utf8(entry.name).unwrap(), entry.ino))
        .collect()
}

async fn a_deleted_volume_goes_its_way(world: &World, secrets: HashMap<String, String>, days: u32) {
    let mut secrets = secrets;
    secrets.insert("format-options".into(), format!("trash-days={days}"));
    let request = CreateVolumeRequest {
        secrets: secrets.clone(),
        ..world.request("pvc-1", &[])
    };
    world.create(request).await.unwrap();
    let secret = VolumeSecret::from_fields(&secrets).unwrap();
    let system = world.engines.open(&secret, false).await.unwrap();
    let object = fill(&system, b"pvc-1").await;
    let call = Call::internal();
    let record = system.meta.volume(&call, "pvc-1").await.unwrap().unwrap();
    let quota = system.meta.quota(&call, record.ino).await.unwrap().unwrap();
    assert!(quota.used_inodes >= 3, "{quota:?}");

    let delete = DeleteVolumeRequest {
        volume_id: "pvc-1".into(),
        secrets,
    };
    let deleted = world.service.delete_volume(Request::new(delete)).await;
    deleted.unwrap();
    assert_eq!(system.meta.quota(&call, record.ino).await.unwrap(), None);
    assert_eq!(system.meta.volume(&call, "pvc-1").await.unwrap(), None);
    let root = names(&system, Ino::ROOT).await;
    let (_, tombstones) = root
        .iter()
        .find(|(name, _)| name == ".carafe-deleted")
        .unwrap();
    assert!(!root.iter().any(|(name, _)| name == "pvc-1"), "{root:?}");
    assert_eq!(names(&system, *tombstones).await.len(), 1);

    for _ in 0..3 {
        assert_eq!(reclaim(&system).await.failures, []);
    }
    assert_eq!(names(&system, *tombstones).await, []);
    let has_trash = system.meta.getattr(&call, Ino::TRASH).await.is_ok();
    let hours = if has_trash {
        names(&system, Ino::TRASH).await
    } else {
        Vec::new()
    };
    let mut trashed = Vec::new();
    for (_, hour) in hours {
        trashed.extend(names(&system, hour).await);
    }
    // As JuiceFS names them: parent, inode, name.
    let file = trashed.iter().find(|(name, _)| name.ends_with("-file"));
    let has_object = system.store.head(&object).await.is_ok();
    if days > 0 {
        let (_, ino) = file.unwrap_or_else(|| panic!("{trashed:?}"));
        let attr = system.meta.getattr(&call, *ino).await.unwrap();
        assert!(attr.length == 5 && has_object, "to be found in the trash");
    } else {
        assert_eq!(trashed, []);
    }
}

#[tokio::test]
async fn a_deleted_volume_goes_through_the_trash_on_sqlite() {
    let world = World::new();
    a_deleted_volume_goes_its_way(&world, world.secrets(), 1).await;
}

#[tokio::test]
async fn a_deleted_volume_goes_for_good_where_there_is_no_trash() {
    let world = World::new();
    a_deleted_volume_goes_its_way(&world, world.secrets(), 0).await;
}

#[tokio::test]
async fn a_deleted_volume_goes_through_the_trash_on_redis() {
    let (redis, s3) = (Redis::start(), S3::start("bucket"));
    a_deleted_volume_goes_its_way(&World::new(), on_redis(&redis, &s3), 1).await;
}

#[tokio::test]
async fn a_deleted_volume_goes_for_good_on_redis_without_a_trash() {
    let (redis, s3) = (Redis::start(), S3::start("bucket"));
    a_deleted_volume_goes_its_way(&World::new(), on_redis(&redis, &s3), 0).await;
}

/// Where the time of the first claim goes, which formats the file system. Figures, not
/// limits: the machine has other work.
#[tokio::test]
async fn the_first_claim_in_figures() {
    let (redis, s3) = (Redis::start(), S3::start("bucket"));
    let secrets = on_redis(&redis, &s3);
    let secret = VolumeSecret::from_fields(&secrets).unwrap();
    let format = secret.new_format().unwrap();
    let start = std::time::Instant::now();
    let lap = |what: &str| println!("  {what}: done at {:?}", start.elapsed());
    let meta = carafe_meta::connect(&redis.url(7), None, ConnectOptions::default())
        .await
        .unwrap();
    lap("connect to Redis");
    let _ = meta.load(&Call::internal()).await;
    lap("load the setting");
    let store = carafe_object::open(&format).unwrap();
    lap("open the store");
    store.list("", "", 1000).await.unwrap();
    lap("first list, with its connection");
    store.list("", "", 1000).await.unwrap();
    lap("second list");
    carafe_object::check(&store).await.unwrap();
    lap("check: put, get, delete");
    carafe_object::check(&store).await.unwrap();
    lap("check again");
    carafe_object::write_uuid(&store, "u").await.unwrap();
    lap("uuid");

    let world = World::new();
    let request = CreateVolumeRequest {
        secrets,
        ..world.request("pvc-0", &[])
    };
    store.delete("juicefs_uuid").await.unwrap();
    let start = std::time::Instant::now();
    world.create(request).await.unwrap();
    println!(
        "the first CreateVolume, which formats: {:?}",
        start.elapsed()
    );
}
