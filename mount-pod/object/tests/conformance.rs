//! What every store must do, back ends and wrappers alike.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use carafe_object::{
    Checksummed, Compressed, Credentials, File, Memory, ObjectError, ObjectStore, Prefixed,
    Sharded, check, is_empty, read_uuid,
    s3::{Bucket, Family, S3},
    write_uuid,
};
use carafe_testkit::S3 as Server;
use carafe_types::{Compression, Secret};

type Store = Arc<dyn ObjectStore>;

async fn conform(store: Store) {
    objects_come_back(&store).await;
    parts_are_joined_and_ranges_cut(&store).await;
    missing_objects_are_said_to_be(&store).await;
    listings_are_in_order_and_paged(&store).await;
    the_check_passes_and_leaves_nothing(&store).await;
}

async fn read(store: &Store, key: &str) -> Bytes {
    store.get(key, None).await.unwrap().into_bytes()
}

async fn objects_come_back(store: &Store) {
    for size in [0usize, 1, 4096, 5 << 20] {
        let bytes: Bytes = (0..size)
            .map(|at| (at % 251) as u8)
            .collect::<Vec<_>>()
            .into();
        let key = format!("chunks/0/0/1_0_{size}");
        store.put(&key, bytes.clone().into()).await.unwrap();
        assert_eq!(read(store, &key).await, bytes, "{size} bytes");
        if store.traits().cheap_ranges {
            assert_eq!(store.head(&key).await.unwrap().size, size as u64);
        }
        store.put(&key, bytes.clone().into()).await.unwrap();
        assert_eq!(read(store, &key).await, bytes, "written twice");
        store.delete(&key).await.unwrap();
    }
}

async fn parts_are_joined_and_ranges_cut(store: &Store) {
    let key = "chunks/0/0/2_0_10";
    let parts = vec![
        Bytes::from_static(b"0123"),
        Bytes::new(),
        Bytes::from_static(b"456789"),
    ];
    store.put(key, parts.into()).await.unwrap();
    assert_eq!(read(store, key).await, "0123456789");
    for (range, expected) in [
        (0..10, "0123456789"),
        (2..5, "234"),
        (9..10, "9"),
        (30..31, ""),
    ] {
        let found = store
            .get(key, Some(range.clone()))
            .await
            .unwrap()
            .into_bytes();
        assert_eq!(found, expected, "{range:?}");
    }
    store.delete(key).await.unwrap();
}

async fn missing_objects_are_said_to_be(store: &Store) {
    let key = "chunks/0/0/3_0_5";
    assert!(matches!(
        store.get(key, None).await,
        Err(ObjectError::NotFound(_))
    ));
    assert!(matches!(
        store.get(key, Some(0..2)).await,
        Err(ObjectError::NotFound(_))
    ));
    assert!(matches!(
        store.head(key).await,
        Err(ObjectError::NotFound(_))
    ));
    store.delete(key).await.unwrap();
}

async fn listings_are_in_order_and_paged(store: &Store) {
    let mut keys: Vec<_> = (0..25).map(|n| format!("list/{}/{n}_0_1", n % 3)).collect();
    keys.extend(["list/1-", "list-", "lis", "list/10/a", "list/\u{e4} b+c%"].map(String::from));
    for key in &keys {
        store
            .put(key, Bytes::from_static(b"x").into())
            .await
            .unwrap();
    }
    keys.retain(|key| key.starts_with("list/"));
    keys.sort_unstable();
    for limit in [1, 4, 1000] {
        assert_eq!(
            listed(store, "list/", limit).await,
            keys,
            "{limit} at a time"
        );
    }
    let ones: Vec<_> = keys
        .iter()
        .filter(|key| key.starts_with("list/1"))
        .cloned()
        .collect();
    assert_eq!(
        listed(store, "list/1", 3).await,
        ones,
        "a prefix that ends within a name"
    );
    assert_eq!(listed(store, "nowhere/", 3).await, [""; 0]);
    for key in listed(store, "lis", 1000).await {
        store.delete(&key).await.unwrap();
    }
}

async fn listed(store: &Store, prefix: &str, limit: usize) -> Vec<String> {
    let (mut keys, mut after) = (Vec::new(), String::new());
    loop {
        let page = store.list(prefix, &after, limit).await.unwrap();
        assert!(page.objects.len() <= limit, "no more than was asked for");
        keys.extend(page.objects.into_iter().map(|object| object.key));
        match page.next {
            Some(next) => after = next,
            None => return keys,
        }
    }
}

async fn the_check_passes_and_leaves_nothing(store: &Store) {
    check(store).await.unwrap();
    assert!(is_empty(store).await.unwrap());
    assert_eq!(read_uuid(store).await.unwrap(), None);
    write_uuid(store, "a-b-c").await.unwrap();
    assert_eq!(read_uuid(store).await.unwrap().as_deref(), Some("a-b-c"));
    assert!(!is_empty(store).await.unwrap());
    store.delete("juicefs_uuid").await.unwrap();
}

#[tokio::test]
async fn memory() {
    conform(Arc::new(Memory::default())).await;
}

#[tokio::test]
async fn file() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = format!("{}/not/there/yet/", dir.path().display());
    conform(Arc::new(Prefixed::new(
        Arc::new(File::new(&bucket)),
        "volume/",
    )))
    .await;
}

#[tokio::test]
async fn prefixed_and_sharded() {
    let shards = (0..3)
        .map(|_| Arc::new(Memory::default()) as Store)
        .collect();
    conform(Arc::new(Prefixed::new(
        Arc::new(Sharded::new(shards)),
        "volume/",
    )))
    .await;
}

#[tokio::test]
async fn compressed() {
    for algorithm in [Compression::Lz4, Compression::Zstd] {
        conform(Arc::new(Compressed::new(
            Arc::new(Memory::default()),
            algorithm,
        )))
        .await;
    }
}

fn credentials(secret: &str) -> Credentials {
    Credentials {
        access_key: Server::ACCESS_KEY.into(),
        secret_key: Secret::new(secret),
        session_token: Secret::default(),
    }
}

fn s3(server: &Server, bucket: &str, secret: &str) -> S3 {
    let bucket = format!("{}/{bucket}", server.endpoint());
    S3::open(
        Bucket::parse(Family::Amazon, &bucket, |_| None).unwrap(),
        "",
        &credentials(secret),
    )
    .unwrap()
}

#[tokio::test]
async fn s3_server() {
    let server = Server::start("data");
    let store = Arc::new(Checksummed::new(Arc::new(s3(
        &server,
        "data",
        Server::SECRET_KEY,
    ))));
    conform(Arc::new(Prefixed::new(store, "volume/"))).await;
}

#[tokio::test]
async fn s3_says_what_is_wrong() {
    let server = Server::start("data");
    let wrong_key: Store = Arc::new(s3(&server, "data", "hunter2"));
    let error = check(&wrong_key).await.unwrap_err();
    assert!(matches!(error, ObjectError::Denied(_)), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let no_bucket: Store = Arc::new(s3(&server, "nowhere", Server::SECRET_KEY));
    let error = no_bucket
        .put("a", Bytes::from_static(b"x").into())
        .await
        .unwrap_err();
    assert!(matches!(error, ObjectError::NoBucket(_)), "{error}");
    let error = no_bucket.get("a", None).await.unwrap_err();
    assert!(matches!(error, ObjectError::NoBucket(_)), "{error}");
    let nobody: Store = Arc::new(s3(&server, "data", Server::SECRET_KEY));
    drop(server);
    let error = check(&nobody).await.unwrap_err();
    assert!(matches!(error, ObjectError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_missing_bucket_is_made() {
    let server = Server::start("data");
    let store: Store = Arc::new(s3(&server, "fresh", Server::SECRET_KEY));
    check(&store).await.unwrap();
    assert!(server.path().join("fresh").is_dir());
}

#[tokio::test]
async fn credentials_are_exchanged_while_it_runs() {
    let server = Server::start("data");
    let store: Store = Arc::new(s3(&server, "data", "not yet"));
    check(&store).await.unwrap_err();
    store.reload(&credentials(Server::SECRET_KEY)).unwrap();
    check(&store).await.unwrap();
}

#[tokio::test]
async fn damage_is_noticed() {
    let memory = Arc::new(Memory::default());
    let store: Store = Arc::new(Checksummed::new(Arc::<Memory>::clone(&memory)));
    store
        .put("a", Bytes::from_static(b"precious").into())
        .await
        .unwrap();
    memory.damage("a", |bytes| bytes[3] ^= 1);
    assert!(matches!(
        store.get("a", None).await,
        Err(ObjectError::Corrupt { .. })
    ));
}
