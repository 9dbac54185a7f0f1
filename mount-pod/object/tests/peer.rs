//! Objects that the real `juicefs` wrote are read here, and the reverse.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_object::{
    Credentials, ObjectMeta, ObjectStore, open, read_uuid,
    s3::{Bucket, Family, S3},
};
use carafe_testkit::{Server, free_port, juicefs, tool};
use carafe_types::{BlockKey, Compression, Format, Secret, SliceId};
use tempfile::TempDir;

const BLOCK: usize = 1 << 20;

/// A volume of the peer.
struct Volume {
    dir: TempDir,
    format: Format,
}

impl Volume {
    /// `bucket` of a `file` store is below the volume's own directory.
    fn format(mut format: Format) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if format.storage == "file" {
            format.bucket = format!("{}/{}/", dir.path().display(), format.bucket);
        }
        format.name = "volume".into();
        format.block_size = (BLOCK >> 10) as u32;
        let volume = Self { dir, format };
        run(&volume.arguments());
        volume
    }

    fn arguments(&self) -> Vec<String> {
        let format = &self.format;
        let compression = serde_name(format.compression);
        let mut arguments = vec![
            "format".into(),
            self.meta(),
            format.name.clone(),
            "--block-size=1M".into(),
        ];
        arguments.push(format!("--storage={}", format.storage));
        arguments.push(format!("--bucket={}", format.bucket));
        arguments.push(format!("--compress={compression}"));
        if format.hash_prefix {
            arguments.push("--hash-prefix".into());
        }
        if format.shards > 0 {
            arguments.push(format!("--shards={}", format.shards));
        }
        if !format.access_key.is_empty() {
            arguments.push(format!("--access-key={}", format.access_key));
            arguments.push(format!("--secret-key={}", format.secret_key.expose()));
        }
        arguments
    }

    fn meta(&self) -> String {
        format!("sqlite3://{}/meta.db", self.dir.path().display())
    }

    /// Runs `work` while the peer has the volume mounted.
    fn mounted<T>(&self, cache: &str, work: impl FnOnce(&Path) -> T) -> T {
        let (mount, cache) = (self.dir.path().join("mount"), self.dir.path().join(cache));
        fs::create_dir_all(&mount).unwrap();
        let arguments =
            ["mount", "--no-usage-report", "--no-syslog", "--cache-dir"].map(String::from);
        let mut command = Command::new(juicefs());
        command
            .args(arguments)
            .arg(cache)
            .arg(self.meta())
            .arg(&mount)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut peer = command.spawn().unwrap();
        wait_until("the peer mounts", || mount.join(".stats").exists());
        let result = work(&mount);
        run(&["umount".into(), mount.display().to_string()]);
        peer.wait().unwrap();
        result
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        open(&self.format).unwrap()
    }
}

/// Runs the peer to its end.
fn run(arguments: &[String]) {
    let output = Command::new(juicefs()).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn serde_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < until, "waited 30 s until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Three blocks and a bit; half of it compresses.
fn content() -> Vec<u8> {
    let mut state = 7u64;
    let mut noise = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..3 * BLOCK + 12_345)
        .map(|at| {
            if at / 1000 % 2 == 0 {
                noise()
            } else {
                (at % 11) as u8
            }
        })
        .collect()
}

/// The blocks in the store, with the plain bytes of each, in the order of slices: the
/// peer may have made several of one file.
async fn blocks(store: &Arc<dyn ObjectStore>, hash_prefix: bool) -> Vec<(String, Vec<u8>)> {
    let listed = store.list("chunks/", "", 100).await.unwrap().objects;
    let mut found = Vec::new();
    for object in listed {
        let name: Vec<u64> = object
            .key
            .rsplit('/')
            .next()
            .unwrap()
            .split('_')
            .map(|part| part.parse().unwrap())
            .collect();
        let key = BlockKey {
            slice: SliceId(name[0]),
            index: name[1] as u32,
            size: name[2] as u32,
        };
        assert_eq!(
            object.key,
            key.object_key(hash_prefix),
            "the key is what we would write"
        );
        let bytes = store.get(&object.key, None).await.unwrap().into_bytes();
        assert_eq!(bytes.len(), key.size as usize);
        found.push((key, object.key, bytes.to_vec()));
    }
    found.sort_unstable();
    found
        .into_iter()
        .map(|(_, key, bytes)| (key, bytes))
        .collect()
}

async fn both_ways(format: Format) {
    let content = content();
    let volume = Volume::format(format);
    volume.mounted("cache-of-the-writer", |mount| {
        fs::write(mount.join("a"), &content).unwrap();
    });
    let store = volume.store();
    assert!(
        read_uuid(&store).await.unwrap().is_some(),
        "the volume's id is where we look for it"
    );
    let blocks = blocks(&store, volume.format.hash_prefix).await;
    assert!(blocks.len() >= 4, "{} blocks", blocks.len());
    let written: Vec<u8> = blocks
        .iter()
        .flat_map(|(_, bytes)| bytes)
        .copied()
        .collect();
    assert!(written == content, "as the peer wrote it");
    if volume.format.storage == "minio" {
        checksums_are_kept(&volume.format).await;
    }
    for (key, bytes) in blocks {
        store.delete(&key).await.unwrap();
        store
            .put(&key, bytes::Bytes::from(bytes).into())
            .await
            .unwrap();
    }
    if volume.format.storage == "minio" {
        checksums_are_kept(&volume.format).await;
    }
    let found = volume.mounted("cache-of-the-reader", |mount| {
        fs::read(mount.join("a")).unwrap()
    });
    assert!(found == content, "the peer reads what we wrote");
}

/// Each block has its checksum beside it, as a store without our wrappers sees it.
async fn checksums_are_kept(format: &Format) {
    let bucket = Bucket::parse(Family::Minio, &format.bucket, |_| None).unwrap();
    let raw = S3::open(bucket, "", &Credentials::from(format)).unwrap();
    let listed = raw.list("volume/chunks/", "", 100).await.unwrap().objects;
    assert!(listed.len() >= 4);
    for ObjectMeta { key, .. } in listed {
        let object = raw.get(&key, None).await.unwrap();
        assert_eq!(object.crc32c, Some(object.checksum()), "{key}");
    }
}

fn file(compression: Compression) -> Format {
    Format {
        bucket: "data".into(),
        compression,
        ..Format::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain() {
    both_ways(file(Compression::None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lz4() {
    both_ways(file(Compression::Lz4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_with_hash_prefix() {
    both_ways(Format {
        hash_prefix: true,
        ..file(Compression::Zstd)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shards() {
    both_ways(Format {
        shards: 3,
        bucket: "data-%d".into(),
        ..file(Compression::None)
    })
    .await;
}

/// A server that keeps user metadata (the kit's own does not), so that both check
/// each other's checksums.
#[tokio::test(flavor = "multi_thread")]
async fn s3_with_checksums() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("buckets/data")).unwrap();
    fs::create_dir(dir.path().join("meta")).unwrap();
    let port = free_port();
    let mut command = Command::new(tool("versitygw"));
    command.args([
        "--access",
        "carafe",
        "--secret",
        "carafe-secret",
        "--port",
        &format!("127.0.0.1:{port}"),
        "posix",
    ]);
    command
        .arg("--sidecar")
        .arg(dir.path().join("meta"))
        .arg(dir.path().join("buckets"));
    let _server = Server::start("versitygw", &mut command, port);
    let format = Format {
        storage: "minio".into(),
        bucket: format!("http://127.0.0.1:{port}/data"),
        access_key: "carafe".into(),
        secret_key: Secret::new("carafe-secret"),
        ..Format::default()
    };
    both_ways(format).await;
}
