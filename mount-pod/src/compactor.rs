//! Compaction on demand: a client without a mount, with a session of its own.

use std::{fmt, sync::Arc, time::Duration};

use carafe_cache::MemoryCache;
use carafe_chunk::{BlockStore, BlockStoreConfig, JuiceFsLayout};
use carafe_meta::{Admin, Call, ChunkRecord, Cursor, Meta, SessionInfo};
use carafe_object::ObjectStore;
use carafe_state::{Config as RegionConfig, Region};
use carafe_types::{Error, FileType, Format, Ino, SessionId, SystemClock};
use carafe_vfs::{Config, NoInvalidator, Parts, Vfs};
use futures_util::{StreamExt, stream};
use tokio::task::JoinHandle;

use crate::{engine::SESSION_VERSION, failure::Failure};

/// Shorter lists do not get much shorter.
const SHORTEST: usize = 3;
/// The buffers of a client that neither reads nor writes files.
const POOL: u64 = 32 << 20;
const HEARTBEAT: Duration = Duration::from_secs(12);
/// Entries of a page.
const PAGE: usize = 1000;

/// A client that compacts.
pub(crate) struct Compactor {
    meta: Arc<dyn Admin>,
    vfs: Vfs,
    session: SessionId,
    beats: JoinHandle<()>,
}

/// What was compacted.
pub(crate) struct Compacted {
    chunks: u64,
    before: u64,
    after: u64,
    failed: u64,
}

impl fmt::Display for Compacted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            chunks,
            before,
            after,
            failed,
        } = self;
        write!(
            out,
            "compacted {chunks} chunks: {before} slices became {after}"
        )?;
        if *failed > 0 {
            write!(out, "; {failed} chunks failed")?;
        }
        Ok(())
    }
}

impl Compactor {
    pub(crate) async fn start(
        meta: &Arc<dyn Admin>,
        objects: &Arc<dyn ObjectStore>,
        format: &Format,
    ) -> Result<Self, Failure> {
        let region = Region::create(RegionConfig::with_pool(POOL));
        let region = region.map_err(|error| Failure::Mount(error.to_string()))?;
        let info = SessionInfo {
            version: SESSION_VERSION.into(),
            mount_point: "compact".into(),
            mount_time: jiff::Timestamp::now().to_string(),
            process_id: std::process::id(),
            ..SessionInfo::default()
        };
        let session = meta.new_session(&Call::internal(), &info).await?;
        region.set_session(session.0);
        let block_size = format.block_bytes();
        let blocks = BlockStore::new(
            Arc::clone(objects),
            Arc::new(MemoryCache::new(MemoryCache::DEFAULT_CAPACITY, block_size)),
            Arc::new(JuiceFsLayout {
                hash_prefix: format.hash_prefix,
            }),
            BlockStoreConfig {
                block_size,
                ..BlockStoreConfig::default()
            },
        );
        let parts = Parts {
            meta: meta.clone(),
            blocks,
            region,
            clock: Arc::new(SystemClock),
            invalidator: Arc::new(NoInvalidator),
        };
        let config = Config {
            block_size,
            compact_from: 0,
            ..Config::default()
        };
        Ok(Self {
            meta: meta.clone(),
            vfs: Vfs::new(parts, config),
            session,
            beats: tokio::spawn(beat(meta.clone(), session)),
        })
    }

    /// Ends its session.
    pub(crate) async fn finish(self) {
        self.beats.abort();
        let call = Call::internal();
        let closed = self.meta.close_session(&call, self.session).await;
        if let Err(error) = closed {
            tracing::warn!(%error, "the session is left to be cleaned");
        }
    }

    /// Compacts every chunk of the volume that is worth it.
    pub(crate) async fn everything(&self, threads: usize) -> Result<Compacted, Failure> {
        let mut chunks = Vec::new();
        let mut visit = |chunk: ChunkRecord| {
            if chunk.slices.len() >= SHORTEST {
                chunks.push((chunk.ino, chunk.index));
            }
        };
        self.meta.scan_chunks(&Call::internal(), &mut visit).await?;
        chunks.sort_unstable();
        chunks.dedup();
        let mut done = Compacted::none();
        self.compact(chunks, threads, &mut done).await?;
        Ok(done)
    }

    /// Compacts what lies at and below inodes.
    pub(crate) async fn trees(
        &self,
        mut waiting: Vec<Ino>,
        threads: usize,
    ) -> Result<Compacted, Failure> {
        let call = Call::internal();
        let mut done = Compacted::none();
        while let Some(ino) = waiting.pop() {
            let attr = match self.meta.getattr(&call, ino).await {
                Err(Error::NotFound) => continue,
                other => other?,
            };
            if attr.kind == FileType::File {
                let chunks = self.meta.chunk_indexes(&call, ino).await?;
                let chunks = chunks.into_iter().map(|index| (ino, index)).collect();
                self.compact(chunks, threads, &mut done).await?;
                continue;
            }
            if !attr.is_dir() {
                continue;
            }
            let mut cursor = Cursor(0);
            loop {
                let page = self.meta.readdir(&call, ino, cursor, PAGE, false).await?;
                for entry in page.entries {
                    cursor = entry.next;
                    if matches!(entry.kind, FileType::File | FileType::Directory) {
                        waiting.push(entry.ino);
                    }
                }
                if page.end {
                    break;
                }
            }
        }
        Ok(done)
    }

    async fn compact(
        &self,
        chunks: Vec<(Ino, u32)>,
        threads: usize,
        done: &mut Compacted,
    ) -> Result<(), Failure> {
        let threads = threads.clamp(1, 255);
        // Each lane takes every so many-th chunk, one after the other.
        let lanes = (0..threads).map(|lane| {
            let own: Vec<_> = chunks.iter().copied().skip(lane).step_by(threads).collect();
            self.lane(own, lane as u32)
        });
        let mut lanes = stream::iter(lanes).buffer_unordered(threads);
        while let Some(part) = lanes.next().await {
            let part = part?;
            done.chunks += part.chunks;
            done.before += part.before;
            done.after += part.after;
            done.failed += part.failed;
        }
        Ok(())
    }

    async fn lane(&self, chunks: Vec<(Ino, u32)>, lane: u32) -> Result<Compacted, Failure> {
        let call = Call::internal();
        let mut done = Compacted::none();
        for (ino, index) in chunks {
            let before = self.meta.read_chunk(&call, ino, index).await?.len();
            if before < SHORTEST {
                continue;
            }
            if let Err(error) = self.vfs.compact_chunk(ino, index, lane).await {
                tracing::warn!(%ino, index, %error, "a chunk was not compacted");
                done.failed += 1;
                continue;
            }
            let after = self.meta.read_chunk(&call, ino, index).await?.len();
            if after < before {
                done.chunks += 1;
                done.before += before as u64;
                done.after += after as u64;
            }
        }
        Ok(done)
    }
}

impl Compacted {
    fn none() -> Self {
        Self {
            chunks: 0,
            before: 0,
            after: 0,
            failed: 0,
        }
    }
}

async fn beat(meta: Arc<dyn Meta>, session: SessionId) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if let Err(error) = meta.heartbeat(&Call::internal(), session).await {
            tracing::warn!(%error, "heartbeat");
        }
    }
}
