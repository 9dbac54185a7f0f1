//! The disk cache over real directories: restarts, damage, bounds.
#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File, OpenOptions},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use carafe_cache::{BlockCache, CacheDirectory, Cached, DiskCache, DiskCacheConfig};
use carafe_types::{BlockKey, SliceId};

const BLOCK: u32 = 256 << 10;

fn config() -> DiskCacheConfig {
    DiskCacheConfig {
        free_floor: 0.0,
        ..DiskCacheConfig::new("a-volume", BLOCK)
    }
}

fn open_as(path: &Path, config: &DiskCacheConfig) -> Arc<DiskCache> {
    let cache = DiskCache::open(vec![CacheDirectory::at_path(path).unwrap()], config).unwrap();
    cache.settle();
    cache
}

fn open(path: &Path) -> Arc<DiskCache> {
    open_as(path, &config())
}

fn key(slice: u64, index: u32, size: u32) -> BlockKey {
    BlockKey {
        slice: SliceId(slice),
        index,
        size,
    }
}

fn content(key: BlockKey) -> Bytes {
    let seed = key.slice.0 * 31 + u64::from(key.index) * 7;
    (0..u64::from(key.size))
        .map(|at| ((at + seed) % 253) as u8)
        .collect::<Vec<_>>()
        .into()
}

fn insert(cache: &DiskCache, key: BlockKey) {
    let bytes = content(key);
    let cut = bytes.len() / 3;
    cache.insert(key, &[bytes.slice(..cut), bytes.slice(cut..)]);
    cache.settle();
}

/// The whole block, if it is there and undamaged; as a reader does it.
async fn read(cache: &DiskCache, key: BlockKey) -> Option<Bytes> {
    let found = cache.get(key, 0..key.size).await?.load().await;
    if found.is_err() {
        cache.remove_damaged(key);
    }
    found.ok().map(|parts| parts.concat().into())
}

fn data_file(root: &Path, slice: u64) -> PathBuf {
    root.join(format!("a-volume/data/{:02x}/{slice}", slice % 256))
}

#[tokio::test]
async fn any_range_of_a_block_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let key = key(5, 3, BLOCK - 1000);
    assert!(cache.get(key, 0..1).await.is_none(), "nothing yet");
    insert(&cache, key);
    for (from, to) in [
        (0, 1),
        (0, key.size),
        (40_000, 40_001),
        (32_767, 65_537),
        (key.size - 1, key.size),
    ] {
        let found = cache.get(key, from..to).await.unwrap();
        assert!(matches!(found, Cached::File(_)), "a place, not bytes");
        assert_eq!(
            found.load().await.unwrap().concat(),
            content(key)[from as usize..to as usize],
            "{from}..{to}"
        );
    }
    assert!(
        cache
            .get(BlockKey { size: BLOCK, ..key }, 0..1)
            .await
            .is_none(),
        "another size is another block"
    );
}

#[tokio::test]
async fn it_is_answered_from_memory_until_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    for slice in 1..50 {
        let key = key(slice, 0, 5000);
        cache.insert(key, &[content(key)]);
        assert_eq!(read(&cache, key).await, Some(content(key)), "at once");
    }
}

#[tokio::test]
async fn blocks_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = (1..40)
        .map(|n| key(u64::from(n) % 7 + 1, n, BLOCK - n))
        .collect();
    let cache = open(dir.path());
    for key in &keys {
        insert(&cache, *key);
    }
    let before = cache.stats();
    drop(cache);
    let cache = open(dir.path());
    assert_eq!(
        (cache.stats().blocks, cache.stats().bytes),
        (before.blocks, before.bytes)
    );
    for key in keys {
        assert_eq!(read(&cache, key).await, Some(content(key)), "{key}");
    }
}

#[tokio::test]
async fn a_flipped_bit_is_a_miss_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let key = key(9, 1, BLOCK);
    insert(&cache, key);
    let file = OpenOptions::new()
        .write(true)
        .open(data_file(dir.path(), 9))
        .unwrap();
    file.write_all_at(b"\xff", u64::from(BLOCK) + 70_000)
        .unwrap();
    let first = cache
        .get(key, 0..65_536)
        .await
        .unwrap()
        .load()
        .await
        .unwrap();
    assert_eq!(
        first.concat(),
        content(key)[..65_536],
        "the units beside it are sound"
    );
    assert_eq!(read(&cache, key).await, None);
    assert_eq!(cache.stats().damaged, 1);
    assert!(!cache.contains(key), "it is not asked again");
    insert(&cache, key);
    assert_eq!(
        read(&cache, key).await,
        Some(content(key)),
        "and can come back"
    );
}

#[tokio::test]
async fn a_file_that_was_cut_or_deleted_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let (cut, gone) = (key(1, 0, BLOCK), key(2, 0, BLOCK));
    let cache = open(dir.path());
    insert(&cache, cut);
    insert(&cache, gone);
    drop(cache);
    File::options()
        .write(true)
        .open(data_file(dir.path(), 1))
        .unwrap()
        .set_len(100)
        .unwrap();
    fs::remove_file(data_file(dir.path(), 2)).unwrap();
    let cache = open(dir.path());
    assert_eq!(read(&cache, cut).await, None);
    assert_eq!(read(&cache, gone).await, None);
    insert(&cache, gone);
    assert_eq!(read(&cache, gone).await, Some(content(gone)));
}

#[tokio::test]
async fn everything_may_be_deleted_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    insert(&cache, key(1, 0, BLOCK));
    fs::remove_dir_all(dir.path().join("a-volume")).unwrap();
    insert(&cache, key(2, 0, BLOCK));
    let second = read(&cache, key(2, 0, BLOCK)).await;
    assert!(second.is_none() || second == Some(content(key(2, 0, BLOCK))));
    drop(cache);
    let cache = open(dir.path());
    insert(&cache, key(3, 0, BLOCK));
    assert_eq!(
        read(&cache, key(3, 0, BLOCK)).await,
        Some(content(key(3, 0, BLOCK)))
    );
}

#[tokio::test]
async fn garbage_in_place_of_the_records_is_an_empty_cache() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    insert(&cache, key(1, 0, BLOCK));
    drop(cache);
    fs::write(dir.path().join("a-volume/index"), vec![0x5a; 5000]).unwrap();
    let cache = open(dir.path());
    assert_eq!(cache.stats().blocks, 0);
    assert!(
        !data_file(dir.path(), 1).exists(),
        "files that no record tells of are removed"
    );
    drop(cache);
    let other_size = DiskCacheConfig {
        block_size: 2 * BLOCK,
        ..config()
    };
    assert_eq!(
        open_as(dir.path(), &other_size).stats().blocks,
        0,
        "another block size is another cache"
    );
}

#[tokio::test]
async fn it_stays_within_its_capacity_and_keeps_what_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let capacity = 20 * u64::from(BLOCK);
    let cache = open_as(
        dir.path(),
        &DiskCacheConfig {
            capacity,
            ..config()
        },
    );
    let favourite = key(1, 0, BLOCK);
    insert(&cache, favourite);
    for n in 0..100 {
        assert_eq!(
            read(&cache, favourite).await,
            Some(content(favourite)),
            "still there after {n}"
        );
        insert(&cache, key(2, n, BLOCK));
        assert!(cache.stats().bytes <= capacity, "{:?}", cache.stats());
    }
    assert!(cache.stats().evictions >= 80, "{:?}", cache.stats());
    let used = allocated(&data_file(dir.path(), 2));
    assert!(used <= capacity, "holes were made: {used}");
}

fn allocated(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().blocks() * 512
}

#[tokio::test]
async fn the_free_space_floor_holds() {
    let dir = tempfile::tempdir().unwrap();
    // More than any disk has free: nothing may be cached.
    let cache = open_as(
        dir.path(),
        &DiskCacheConfig {
            free_floor: 1.0,
            ..config()
        },
    );
    insert(&cache, key(1, 0, BLOCK));
    assert_eq!(read(&cache, key(1, 0, BLOCK)).await, None);
    assert_eq!(cache.stats().bytes, 0);
}

#[tokio::test]
async fn removed_blocks_leave_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let blocks = [key(3, 0, BLOCK), key(3, 1, BLOCK), key(3, 2, 77)];
    for key in blocks {
        insert(&cache, key);
    }
    for key in blocks {
        cache.remove(key);
    }
    cache.settle();
    assert!(!data_file(dir.path(), 3).exists());
    assert_eq!((cache.stats().blocks, cache.stats().bytes), (0, 0));
    assert_eq!(read(&cache, blocks[0]).await, None);
}

#[tokio::test]
async fn it_works_below_a_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let fd = OwnedFd::from(File::open(dir.path()).unwrap());
        let place = CacheDirectory::at_descriptor(fd, "cache-0").unwrap();
        let cache = DiskCache::open(vec![place], &config()).unwrap();
        cache.settle();
        cache
    };
    let cache = open();
    insert(&cache, key(1, 0, BLOCK));
    drop(cache);
    assert_eq!(
        read(&open(), key(1, 0, BLOCK)).await,
        Some(content(key(1, 0, BLOCK)))
    );
    assert!(data_file(dir.path(), 1).exists());
}

#[tokio::test]
async fn several_directories_share_the_slices() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let places = |count: usize| {
        dirs[..count]
            .iter()
            .map(|dir| CacheDirectory::at_path(dir.path()).unwrap())
            .collect()
    };
    let cache = DiskCache::open(places(3), &config()).unwrap();
    let keys: Vec<_> = (1..=90).map(|slice| key(slice, 0, 1000)).collect();
    for key in &keys {
        insert(&cache, *key);
    }
    for dir in &dirs {
        let count = fs::read_dir(dir.path().join("a-volume/data"))
            .unwrap()
            .count();
        assert!(
            count > 10,
            "{count} slices of 90 in one of three directories"
        );
    }
    drop(cache);
    let cache = DiskCache::open(places(2), &config()).unwrap();
    cache.settle();
    let mut found = 0;
    for key in keys {
        found += usize::from(read(&cache, key).await.is_some());
    }
    assert!(
        found > 40,
        "{found}: the slices of the two that are left stay where they were"
    );
}

#[tokio::test]
async fn a_second_process_waits_for_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    insert(&first, key(1, 0, BLOCK));
    let second = open(dir.path());
    assert_eq!(
        read(&second, key(1, 0, BLOCK)).await,
        None,
        "the first has the lock"
    );
    insert(&second, key(2, 0, BLOCK));
    drop(first);
    let until = Instant::now() + Duration::from_secs(5);
    while second.stats().blocks == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        read(&second, key(1, 0, BLOCK)).await,
        Some(content(key(1, 0, BLOCK)))
    );
}

#[tokio::test]
async fn a_block_that_no_disk_could_keep_up_with_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open_as(
        dir.path(),
        &DiskCacheConfig {
            queue_bytes: 1000,
            ..config()
        },
    );
    insert(&cache, key(1, 0, 2000));
    assert_eq!(
        read(&cache, key(1, 0, 2000)).await,
        None,
        "larger than the queue"
    );
}

/// 1 TiB of 4 MiB blocks, as records only: the files they tell of are not there.
#[tokio::test]
async fn a_terabyte_of_records_is_ready_at_once() {
    const BLOCKS: u64 = 1 << 18;
    let dir = tempfile::tempdir().unwrap();
    let config = DiskCacheConfig {
        block_size: 4 << 20,
        capacity: 2 << 40,
        ..config()
    };
    drop(open_as(dir.path(), &config));
    let mut records = fs::read(dir.path().join("a-volume/index")).unwrap();
    records.resize(64, 0);
    for slice in 1..=BLOCKS {
        let mut record = [0u8; 32];
        record[..8].copy_from_slice(&(slice << 11).to_le_bytes());
        record[8..12].copy_from_slice(&config.block_size.to_le_bytes());
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &record[..28]) as u32;
        record[28..].copy_from_slice(&sum.to_le_bytes());
        records.extend_from_slice(&record);
    }
    fs::write(dir.path().join("a-volume/index"), records).unwrap();
    let begun = Instant::now();
    let cache = open_as(dir.path(), &config);
    println!("{BLOCKS} records were ready in {:?}", begun.elapsed());
    assert_eq!(
        (cache.stats().blocks, cache.stats().bytes),
        (BLOCKS, 1 << 40)
    );
}
