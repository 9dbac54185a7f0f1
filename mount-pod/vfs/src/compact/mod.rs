//! Compaction: few slices in the place of the many that small writes leave in a chunk.
//!
//! Every read and copy of a chunk fetches its whole list, so a list must not grow
//! with the number of writes. A list is **worth** compacting when it is long, and
//! long for the bytes that have to be moved. Its **front** is what is looked at;
//! large slices that stand first and that nothing overlays are **kept**; the rest
//! is read, written into new slices, and replaced in one transaction that fails if
//! the front is not what it was. Writers only append, so it needs no lock: what
//! comes meanwhile stands behind the front and stays there.
//!
//! A worker that dies between the two leaves blocks that no slice names, which `gc`
//! finds, as it finds those of writes.

pub(crate) mod chunks;
mod plan;

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use carafe_chunk::Access;
use carafe_meta::{Call, Compaction, OpKey};
use carafe_state::IdKind;
use carafe_types::{BlockKey, Error, Ino, Result, Segment, Slice, SliceId, block_count, block_len};
use tokio_util::sync::CancellationToken;

use self::plan::{Run, is_worth, plan};
use crate::{Vfs, reader::zeros, shared::Core};

/// How many chunks are compacted at a time: each holds a block in memory.
const AT_ONCE: u32 = 2;
/// The slots of the idempotency keys, below that of commits.
const SLOT: u32 = u32::MAX - 1;
/// How often a transaction whose fate is not known is sent.
const ATTEMPTS: u32 = 5;
/// Of the slices that are written, every so many-th has its chunk looked at. Their
/// ids are consecutive, so that a chunk with many writes is looked at in time, and
/// nothing need be remembered of any.
const LOOK_EVERY: u64 = 64;

/// Starts the compactors, which end with the token.
pub(crate) fn start(core: &Arc<Core>, stop: &CancellationToken) {
    if core.config.read_only || core.config.compact_from == 0 {
        return;
    }
    for number in 0..AT_ONCE {
        let (core, stop) = (Arc::clone(core), stop.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled(run(&core, SLOT - number)).await;
        });
    }
}

async fn run(core: &Arc<Core>, slot: u32) {
    loop {
        core.compactions.woken().await;
        while let Some(under_way) = core.compactions.take() {
            let (ino, index) = under_way.chunk;
            if let Err(error) = core.compact(ino, index, slot, false).await {
                tracing::warn!(%ino, index, %error, "a chunk was not compacted");
                // What failed is likely to fail again, and nobody waits for it.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Vfs {
    /// Compacts a chunk now, if its list gets much shorter by it. Calls that run at the
    /// same time need a `lane` each: 0, 1, 2 ….
    pub async fn compact_chunk(&self, ino: Ino, index: u32, lane: u32) -> Result<()> {
        let slot = SLOT - AT_ONCE - lane;
        self.core.compact(ino, index, slot, true).await
    }
}

impl Core {
    /// A chunk's list was read: it is compacted in the background if that is worth it.
    pub(crate) fn saw_list(&self, ino: Ino, index: u32, list: &[Slice]) {
        if is_worth(list, self.config.compact_from) {
            self.compactions.add((ino, index));
        }
    }

    /// A slice was committed: its chunk is looked at now and then.
    pub(crate) fn saw_commit(&self, ino: Ino, index: u32, slice: SliceId) {
        if slice.0.is_multiple_of(LOOK_EVERY) {
            self.compactions.add((ino, index));
        }
    }

    /// Compacts a chunk if that is worth it, or if it is `wanted`, if it gets shorter.
    async fn compact(
        self: &Arc<Self>,
        ino: Ino,
        index: u32,
        slot: u32,
        wanted: bool,
    ) -> Result<()> {
        let list = self.meta.read_chunk(&self.own_call(), ino, index).await?;
        let Some(plan) = (wanted || is_worth(&list, self.config.compact_from))
            .then(|| plan(&list))
            .flatten()
        else {
            return Ok(());
        };
        let id = self.next_slice().await?;
        let mut merged = Vec::with_capacity(plan.runs.len());
        let written = self.write_runs(id, &plan.runs, &mut merged).await;
        if let Err(error) = written {
            self.discard_slices(&merged);
            // The blocks may be gone because somebody else compacted the chunk.
            let now = self.meta.read_chunk(&self.own_call(), ino, index).await?;
            return if now.starts_with(plan.front) {
                Err(error)
            } else {
                Ok(())
            };
        }
        let compaction = Compaction {
            ino,
            index,
            id,
            front: plan.front.to_vec(),
            keep: plan.keep,
            merged,
        };
        if self.replace(&compaction, slot).await? {
            self.compacted(ino, index);
        } else {
            self.discard_slices(&compaction.merged);
        }
        Ok(())
    }

    /// Sends the transaction until its fate is known. If that stays unknown the new
    /// blocks stay: they may be in use.
    async fn replace(&self, compaction: &Compaction, slot: u32) -> Result<bool> {
        let key = OpKey {
            session: self.session(),
            slot,
            sequence: self.orders.fetch_add(1, Ordering::Relaxed),
        };
        let call = || Call {
            key: Some(key),
            ..self.own_call()
        };
        let mut pause = Duration::from_millis(50);
        for _ in 1..ATTEMPTS {
            match self.meta.compact(&call(), compaction).await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    tracing::debug!(ino = %compaction.ino, %error, "a compaction is sent again");
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
        }
        self.meta.compact(&call(), compaction).await
    }

    /// Cached lists name slices whose blocks will be deleted.
    fn compacted(&self, ino: Ino, index: u32) {
        if let Some(file) = self.files.find(ino) {
            let mut state = file.state.lock();
            state.version += 1;
            state.lists.remove(&index);
        }
    }

    fn discard_slices(self: &Arc<Self>, slices: &[Slice]) {
        self.discard(slices.iter().map(|slice| (slice.id, slice.size)).collect());
    }

    /// Writes each run as a slice; what was begun is in `merged` also after an error.
    async fn write_runs(
        &self,
        first: SliceId,
        runs: &[Run],
        merged: &mut Vec<Slice>,
    ) -> Result<()> {
        for run in runs {
            let id = match merged.len() {
                0 => first,
                _ => self.next_slice().await?,
            };
            merged.push(Slice::whole(run.pos, id, run.len));
            let block_size = self.config.block_size;
            for index in 0..block_count(run.len, block_size) {
                let key = BlockKey {
                    slice: id,
                    index,
                    size: block_len(run.len, block_size, index),
                };
                let parts = self.read_part(run, index * block_size, key.size).await?;
                self.blocks.put(key, parts).await?;
            }
        }
        Ok(())
    }

    async fn next_slice(&self) -> Result<SliceId> {
        loop {
            if let Some(id) = self.region.ids().take(IdKind::Slice) {
                return Ok(SliceId(id));
            }
            self.refill_slices().await?;
        }
    }

    /// The bytes `[off, off + len)` of a run.
    async fn read_part(&self, run: &Run, off: u32, len: u32) -> Result<Vec<Bytes>> {
        let mut parts = Vec::new();
        for segment in run.part(off, len) {
            let Segment {
                id, size, off, len, ..
            } = segment;
            if id.is_hole() {
                parts.extend(zeros(len));
            } else {
                parts.extend(
                    self.blocks
                        .read(id, size, off, len, Access::Sequential)
                        .await?,
                );
            }
        }
        let got: usize = parts.iter().map(Bytes::len).sum();
        if got == len as usize {
            Ok(parts)
        } else {
            Err(Error::Io(format!("{got} bytes came where {len} should be")))
        }
    }
}
