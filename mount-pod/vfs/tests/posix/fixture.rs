//! A mount for a test: a fresh volume, small blocks, small pages, a small pool.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use carafe_cache::NoCache;
use carafe_chunk::{BlockStore, BlockStoreConfig, JuiceFsLayout};
use carafe_meta::{Call, ConnectOptions, Meta, SessionInfo, connect};
use carafe_object::{
    Credentials, Memory, Object, ObjectError, ObjectMeta, ObjectStore, OpenError, Page, Traits,
};
use carafe_state::{Config as RegionConfig, Region};
use carafe_types::{BlockKey, Format, Ino, SliceId, SystemClock, block_count, block_len};
use carafe_vfs::{Config, NoInvalidator, OpenFlags, Parts, Vfs, WriteFlags};
use tempfile::TempDir;

use crate::engine::{Engine, Mood};

pub(crate) const BLOCK: u32 = 64 << 10;
pub(crate) const PAGE: u32 = 4 << 10;

/// A store that fails or hangs when told to.
#[derive(Debug, Default)]
pub(crate) struct Moody {
    below: Memory,
    pub(crate) fail_puts: AtomicBool,
    pub(crate) hang_puts: AtomicBool,
    /// Puts take different times, so that they overtake each other.
    pub(crate) jitter: AtomicBool,
    pub(crate) puts: AtomicUsize,
}

#[async_trait]
impl ObjectStore for Moody {
    fn describe(&self) -> String {
        "moody".into()
    }

    fn traits(&self) -> Traits {
        self.below.traits()
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> carafe_object::Result<Object> {
        self.below.get(key, range).await
    }

    async fn put(&self, key: &str, object: Object) -> carafe_object::Result<()> {
        while self.hang_puts.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if self.fail_puts.load(Ordering::SeqCst) {
            return Err(ObjectError::Other("told to fail".into()));
        }
        let number = self.puts.fetch_add(1, Ordering::SeqCst) as u64;
        if self.jitter.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_micros(number * 7919 % 5000)).await;
        }
        // A real store does not keep the pool's pages.
        let copy = Bytes::copy_from_slice(&object.into_bytes());
        self.below.put(key, copy.into()).await
    }

    async fn delete(&self, key: &str) -> carafe_object::Result<()> {
        self.below.delete(key).await
    }

    async fn head(&self, key: &str) -> carafe_object::Result<ObjectMeta> {
        self.below.head(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> carafe_object::Result<Page> {
        self.below.list(prefix, after, limit).await
    }

    async fn create(&self) -> carafe_object::Result<()> {
        self.below.create().await
    }

    fn reload(&self, credentials: &Credentials) -> Result<(), OpenError> {
        self.below.reload(credentials)
    }
}

/// A volume and what all its clients share.
pub(crate) struct Volume {
    pub(crate) meta: Arc<dyn Meta>,
    pub(crate) store: Arc<Moody>,
    pub(crate) mood: Arc<Mood>,
    url: String,
    _dir: TempDir,
}

/// One client's mount.
pub(crate) struct Mount {
    pub(crate) vfs: Vfs,
    pub(crate) region: Region,
    pub(crate) call: Call,
}

pub(crate) struct File {
    pub(crate) ino: Ino,
    pub(crate) handle: u64,
}

impl Volume {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite3://{}/meta.db", dir.path().display());
        let meta = connect(&url, None, ConnectOptions::default())
            .await
            .unwrap();
        let format = Format {
            name: "test".into(),
            uuid: "6d1f3a52-8a0b-4c8b-9a52-0b8f3a526d1f".into(),
            block_size: BLOCK >> 10,
            trash_days: 0,
            ..Format::default()
        };
        meta.format(&Call::internal(), &format, false)
            .await
            .unwrap();
        Self {
            meta,
            store: Arc::default(),
            mood: Arc::default(),
            url,
            _dir: dir,
        }
    }

    /// Uploads and commits take different times from now on.
    pub(crate) fn disturb(&self) {
        self.store.jitter.store(true, Ordering::SeqCst);
        self.mood.late.store(true, Ordering::SeqCst);
    }

    /// How many objects there are.
    pub(crate) async fn objects(&self) -> usize {
        let page = self.store.list("", "", 100_000).await.unwrap();
        page.objects.len()
    }

    /// Deletes the blocks of a slice under everybody who has its record cached.
    pub(crate) async fn delete(&self, slice: SliceId, size: u32) {
        for index in 0..block_count(size, BLOCK) {
            let key = BlockKey {
                slice,
                index,
                size: block_len(size, BLOCK, index),
            };
            self.store.delete(&key.object_key(false)).await.unwrap();
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn mount(&self, config: Config) -> Mount {
        self.mount_with_pool(config, 512).await
    }

    /// Another client, with a pool of so many pages.
    pub(crate) async fn mount_with_pool(&self, config: Config, pages: u32) -> Mount {
        let meta = connect(&self.url, None, ConnectOptions::default())
            .await
            .unwrap();
        let session = meta
            .new_session(&Call::internal(), &SessionInfo::default())
            .await
            .unwrap();
        let region = Region::create(RegionConfig {
            big_slots: 2,
            max_write: 1 << 20,
            small_slots: 16,
            small_slot_len: 8 << 10,
            handles: 4096,
            extents: 16 << 10,
            pool_pages: pages,
            page_size: PAGE,
        })
        .unwrap();
        region.set_session(session.0);
        self.mount_region(meta, region, config)
    }

    /// A client over a region that another may have left.
    pub(crate) fn mount_region(
        &self,
        meta: Arc<dyn Meta>,
        region: Region,
        config: Config,
    ) -> Mount {
        let store: Arc<dyn ObjectStore> = self.store.clone();
        let blocks = BlockStoreConfig {
            block_size: BLOCK,
            missing_patience: Duration::ZERO,
            ..BlockStoreConfig::default()
        };
        let resolver = Arc::new(JuiceFsLayout { hash_prefix: false });
        let parts = Parts {
            meta: Arc::new(Engine {
                below: meta,
                mood: Arc::clone(&self.mood),
            }),
            blocks: BlockStore::new(store, Arc::new(NoCache), resolver, blocks),
            region: region.clone(),
            clock: Arc::new(SystemClock),
            invalidator: Arc::new(NoInvalidator),
        };
        let vfs = Vfs::new(
            parts,
            Config {
                block_size: BLOCK,
                ..config
            },
        );
        let call = vfs.call(0, 0, 1);
        Mount { vfs, region, call }
    }
}

impl Mount {
    pub(crate) async fn create(&self, name: &str) -> File {
        let made = self
            .vfs
            .create(
                &self.call,
                Ino::ROOT,
                name.as_bytes(),
                0o644,
                0,
                OpenFlags::RDWR,
            )
            .await
            .unwrap();
        File {
            ino: made.entry.ino,
            handle: made.opened.handle,
        }
    }

    pub(crate) async fn open(&self, ino: Ino) -> File {
        let opened = self
            .vfs
            .open(&self.call, ino, OpenFlags::RDWR)
            .await
            .unwrap();
        File {
            ino,
            handle: opened.handle,
        }
    }

    pub(crate) async fn write(
        &self,
        file: &File,
        offset: u64,
        data: &[u8],
    ) -> carafe_types::Result<usize> {
        self.vfs
            .write(
                &self.call,
                file.ino,
                file.handle,
                offset,
                data,
                WriteFlags::default(),
            )
            .await
    }

    pub(crate) async fn read(&self, file: &File, offset: u64, len: usize) -> Vec<u8> {
        let parts = self
            .vfs
            .read(&self.call, file.ino, file.handle, offset, len)
            .await
            .unwrap();
        parts.concat()
    }

    pub(crate) async fn fsync(&self, file: &File) -> carafe_types::Result<()> {
        self.vfs
            .fsync(&self.call, file.ino, file.handle, false)
            .await
    }

    pub(crate) async fn close(&self, file: File) -> carafe_types::Result<()> {
        let flushed = self.vfs.flush(&self.call, file.ino, file.handle, 7).await;
        self.vfs
            .release(&self.call, file.ino, file.handle, None)
            .await
            .unwrap();
        flushed
    }

    pub(crate) async fn length(&self, ino: Ino) -> u64 {
        self.vfs.getattr(&self.call, ino).await.unwrap().attr.length
    }
}

/// Bytes that differ from seed to seed and from place to place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| ((seed.wrapping_mul(0x9E37_79B9) + at * 31) >> 3) as u8 | 1)
        .collect()
}
