//! The block store over stores and caches of this process.
#![allow(clippy::unwrap_used)]

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use carafe_cache::{BlockCache, MemoryCache, NoCache};
use carafe_chunk::{Access, BlockStore, BlockStoreConfig, JuiceFsLayout};
use carafe_object::{
    Credentials, Memory, Object, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits,
};
use carafe_types::{BlockKey, Error, SliceId, block_count, block_len};

const BLOCK: u32 = 64 << 10;
const SLICE: SliceId = SliceId(77);
const SIZE: u32 = 3 * BLOCK + 100;

/// Memory that counts and is slow.
#[derive(Debug, Default)]
struct Counting {
    memory: Memory,
    gets: AtomicUsize,
    bytes: AtomicUsize,
    slow: Duration,
}

#[async_trait]
impl ObjectStore for Counting {
    fn describe(&self) -> String {
        self.memory.describe()
    }
    fn traits(&self) -> Traits {
        self.memory.traits()
    }
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        tokio::time::sleep(self.slow).await;
        self.gets.fetch_add(1, Ordering::Relaxed);
        let object = self.memory.get(key, range).await?;
        self.bytes.fetch_add(object.len(), Ordering::Relaxed);
        Ok(object)
    }
    async fn put(&self, key: &str, object: Object) -> Result<()> {
        self.memory.put(key, object).await
    }
    async fn delete(&self, key: &str) -> Result<()> {
        self.memory.delete(key).await
    }
    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.memory.head(key).await
    }
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        self.memory.list(prefix, after, limit).await
    }
    async fn create(&self) -> Result<()> {
        Ok(())
    }
    fn reload(&self, _: &Credentials) -> std::result::Result<(), OpenError> {
        Ok(())
    }
}

impl Counting {
    fn gets(&self) -> usize {
        self.gets.load(Ordering::Relaxed)
    }
}

fn byte(at: u32) -> u8 {
    (at % 251) as u8
}

fn expected(range: Range<u32>) -> Vec<u8> {
    range.map(byte).collect()
}

fn open(store: Arc<Counting>, cache: Arc<dyn BlockCache>) -> Arc<BlockStore> {
    let config = BlockStoreConfig {
        block_size: BLOCK,
        missing_patience: Duration::from_millis(200),
        max_prefetch: 2,
        ..BlockStoreConfig::default()
    };
    BlockStore::new(store, cache, Arc::new(JuiceFsLayout::default()), config)
}

/// A store that holds [`SLICE`], of [`SIZE`] bytes.
async fn filled(cache: Arc<dyn BlockCache>, slow: Duration) -> (Arc<Counting>, Arc<BlockStore>) {
    let store = Arc::new(Counting {
        slow,
        ..Counting::default()
    });
    let blocks = open(Arc::clone(&store), cache);
    for index in 0..block_count(SIZE, BLOCK) {
        let size = block_len(SIZE, BLOCK, index);
        let bytes = Bytes::from(expected(index * BLOCK..index * BLOCK + size));
        let cut = (size / 3) as usize;
        let parts = vec![bytes.slice(..cut), bytes.slice(cut..)];
        blocks
            .put(
                BlockKey {
                    slice: SLICE,
                    index,
                    size,
                },
                parts,
            )
            .await
            .unwrap();
    }
    (store, blocks)
}

fn memory_cache() -> Arc<MemoryCache> {
    Arc::new(MemoryCache::new(10 << 20, BLOCK))
}

async fn read(blocks: &BlockStore, range: Range<u32>, access: Access) -> Vec<u8> {
    blocks
        .read(SLICE, SIZE, range.start, range.end - range.start, access)
        .await
        .unwrap()
        .concat()
}

#[tokio::test]
async fn any_range_reads_as_written() {
    let (_, blocks) = filled(Arc::new(NoCache), Duration::ZERO).await;
    for access in [Access::Sequential, Access::Random] {
        for range in [
            0..1,
            0..SIZE,
            BLOCK - 1..BLOCK + 1,
            10..3 * BLOCK + 7,
            SIZE - 1..SIZE,
            5..5,
        ] {
            assert_eq!(
                read(&blocks, range.clone(), access).await,
                expected(range.clone()),
                "{range:?} {access:?}"
            );
        }
    }
    assert_eq!(
        blocks.read(SLICE, SIZE, SIZE, 1, Access::Random).await,
        Err(Error::Invalid)
    );
}

#[tokio::test]
async fn a_block_is_fetched_once() {
    let (store, blocks) = filled(memory_cache(), Duration::from_millis(20)).await;
    let reads = (0..8).map(|n| read(&blocks, n * 1000..n * 1000 + 1000, Access::Sequential));
    for (n, found) in futures_util::future::join_all(reads)
        .await
        .into_iter()
        .enumerate()
    {
        let start = n as u32 * 1000;
        assert_eq!(found, expected(start..start + 1000));
    }
    assert_eq!(store.gets(), 1, "eight readers of one block");
    read(&blocks, 0..BLOCK, Access::Random).await;
    assert_eq!(store.gets(), 1, "and then it is cached");
}

#[tokio::test]
async fn a_small_block_is_cached_as_it_is_uploaded() {
    let (store, blocks) = filled(memory_cache(), Duration::ZERO).await;
    read(&blocks, SIZE - 100..SIZE, Access::Sequential).await;
    assert_eq!(store.gets(), 0, "the last block is small");
}

#[tokio::test]
async fn random_reads_fetch_parts_until_the_block_is_worth_it() {
    let (store, blocks) = filled(memory_cache(), Duration::ZERO).await;
    for n in 0..2 {
        read(&blocks, n * 4096..n * 4096 + 4096, Access::Random).await;
    }
    assert_eq!(store.bytes.load(Ordering::Relaxed), 8192, "two parts");
    read(&blocks, 20_000..24_096, Access::Random).await;
    read(&blocks, 50_000..54_096, Access::Random).await;
    assert_eq!(
        store.bytes.load(Ordering::Relaxed),
        8192 + BLOCK as usize,
        "then the whole, once"
    );
}

#[tokio::test]
async fn prefetched_blocks_are_there_and_bounded() {
    let (store, blocks) = filled(memory_cache(), Duration::from_millis(5)).await;
    let mut prefetch = blocks.prefetch(SLICE, SIZE, 0, SIZE);
    assert_eq!(prefetch.under_way(), 2, "no more than there is room for");
    prefetch.finish().await;
    read(&blocks, 0..2 * BLOCK, Access::Sequential).await;
    assert_eq!(store.gets(), 2, "the reads found them");
}

#[tokio::test]
async fn a_dropped_prefetch_stops() {
    let (store, blocks) = filled(memory_cache(), Duration::from_millis(50)).await;
    let prefetch = blocks.prefetch(SLICE, SIZE, 0, BLOCK);
    tokio::time::sleep(Duration::from_millis(5)).await;
    drop(prefetch);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(store.gets(), 0, "nobody wanted it any more");
}

#[tokio::test]
async fn a_missing_block_is_waited_for_and_then_named() {
    let (store, blocks) = filled(Arc::new(NoCache), Duration::ZERO).await;
    let key = BlockKey {
        slice: SLICE,
        index: 0,
        size: BLOCK,
    };
    store.delete(&key.object_key(false)).await.unwrap();
    let error = blocks
        .read(SLICE, SIZE, 0, 10, Access::Sequential)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Io(text) if text.contains("chunks/0/0/77_0_65536")),
        "{error}"
    );
    let late = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        store
            .put(
                &key.object_key(false),
                Bytes::from(expected(0..BLOCK)).into(),
            )
            .await
            .unwrap();
    };
    let (found, ()) = tokio::join!(read(&blocks, 0..10, Access::Sequential), late);
    assert_eq!(found, expected(0..10));
}

#[tokio::test]
async fn a_short_object_is_no_block() {
    let (store, blocks) = filled(Arc::new(NoCache), Duration::ZERO).await;
    store
        .memory
        .damage("chunks/0/0/77_1_65536", |bytes| bytes.truncate(1000));
    let error = blocks
        .read(SLICE, SIZE, BLOCK, 10, Access::Sequential)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error}");
}

#[tokio::test]
async fn a_deleted_slice_is_gone_from_store_and_cache() {
    let (store, blocks) = filled(memory_cache(), Duration::ZERO).await;
    read(&blocks, 0..SIZE, Access::Sequential).await;
    blocks.delete_slice(SLICE, SIZE).await.unwrap();
    blocks.delete_slice(SLICE, SIZE).await.unwrap();
    assert_eq!(store.list("", "", 10).await.unwrap().objects, []);
    blocks
        .read(SLICE, SIZE, 0, 10, Access::Sequential)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_put_of_another_length_is_refused() {
    let (_, blocks) = filled(memory_cache(), Duration::ZERO).await;
    let key = BlockKey {
        slice: SLICE,
        index: 9,
        size: 5,
    };
    assert_eq!(
        blocks.put(key, vec![Bytes::from_static(b"four")]).await,
        Err(Error::Invalid)
    );
}
