//! Bytes into the pool.

use std::{sync::Arc, sync::atomic::Ordering};

use carafe_state::{IdKind, Page};
use carafe_types::{Error, Result, SliceId, chunk_spans};
use tokio::time::Instant;

use crate::{
    file::{
        File,
        log::{Need, Place, Upload},
        queue::Put,
    },
    shared::Core,
};

/// A write under way.
struct Writing<'a> {
    offset: u64,
    data: &'a [u8],
    done: usize,
    bag: Vec<Page>,
}

impl Core {
    /// Writes `data`; answers how many bytes, which is less than all only when the
    /// pool filled up in the middle and stayed full.
    pub(crate) async fn put(
        self: &Arc<Self>,
        file: &Arc<File>,
        offset: u64,
        data: &[u8],
    ) -> Result<usize> {
        let deadline = Instant::now() + self.config.write_wait;
        let mut writing = Writing {
            offset,
            data,
            done: 0,
            bag: Vec::new(),
        };
        while writing.done < data.len() {
            // Not held while waiting for room: a barrier must never wait for the pool.
            let order = file.order.read().await;
            let need = self.put_some(file, &mut writing);
            drop(order);
            match (
                self.provide(need, &mut writing, deadline).await,
                writing.done,
            ) {
                (Ok(()), _) => {}
                (Err(error), 0) => return Err(error),
                (Err(_), done) => return Ok(done),
            }
        }
        Ok(writing.done)
    }

    /// Writes as much as there are means for.
    fn put_some(self: &Arc<Self>, file: &Arc<File>, writing: &mut Writing<'_>) -> Option<Need> {
        let mut uploads = Vec::new();
        let (before, mut need) = (writing.done, None);
        let mut state = file.state.lock();
        let mtime = self.clock.now();
        for span in chunk_spans(
            writing.offset + before as u64,
            (writing.data.len() - before) as u64,
        ) {
            let mut put = Put {
                bag: &mut writing.bag,
                next_slice: &mut || self.region.ids().take(IdKind::Slice).map(SliceId),
                next_order: &mut || self.orders.fetch_add(1, Ordering::Relaxed),
                mtime,
                pack: self.config.pack,
            };
            let data = &writing.data[writing.done..][..span.len as usize];
            let queue = state.dirty.entry(span.index).or_default();
            let (taken, lacks) = queue.put(self.place(file, span.index), span.pos, data, &mut put);
            queue.freeze_full(&mut uploads);
            writing.done += taken;
            need = lacks;
            if need.is_some() {
                break;
            }
        }
        if writing.done > before {
            state.dirty_end = state.dirty_end.max(writing.offset + writing.done as u64);
            state.dirty_mtime = mtime;
        }
        state.dirty.retain(|_, queue| !queue.logs.is_empty());
        let dirty = state.is_dirty();
        drop(state);
        if dirty {
            self.files.mark_dirty(file);
        }
        self.start(file, uploads);
        need
    }

    pub(crate) fn place(&self, file: &File, index: u32) -> Place {
        Place {
            ino: file.ino.0,
            index,
            block_size: self.config.block_size,
            page_size: self.region.pool().page_size() as u32,
        }
    }

    /// Gets what a write lacks. Whoever waits here holds no page and no lock.
    async fn provide(
        &self,
        need: Option<Need>,
        writing: &mut Writing<'_>,
        deadline: Instant,
    ) -> Result<()> {
        match need {
            None => Ok(()),
            Some(Need::Slice) => self.refill_slices().await,
            Some(Need::Page) => self.take_pages(writing, deadline).await,
            Some(Need::Record) => {
                writing.bag.clear();
                self.pressure.notify_one();
                if Instant::now() >= deadline {
                    return Err(full());
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                Ok(())
            }
        }
    }

    async fn take_pages(&self, writing: &mut Writing<'_>, deadline: Instant) -> Result<()> {
        let pool = self.region.pool();
        let wanted = (writing.data.len() - writing.done) / pool.page_size() + 1;
        if pool.available() < pool.capacity() / 4 {
            self.pressure.notify_one();
        }
        writing
            .bag
            .extend(std::iter::from_fn(|| pool.try_alloc()).take(wanted));
        if writing.bag.is_empty() {
            self.pressure.notify_one();
            writing
                .bag
                .push(pool.alloc(deadline.into_std()).await.map_err(|_| full())?);
        }
        Ok(())
    }

    /// Takes a batch of slice ids from the engine, one task at a time.
    pub(crate) async fn refill_slices(&self) -> Result<()> {
        let _one = self.refill.lock().await;
        if self.region.ids().remaining(IdKind::Slice) == 0 {
            let ids = self.meta.take_slice_ids(&self.own_call()).await?;
            self.region
                .ids()
                .refill(IdKind::Slice, ids.next.0..ids.end.0);
        }
        Ok(())
    }

    /// Begins uploads.
    pub(crate) fn start(self: &Arc<Self>, file: &Arc<File>, uploads: Vec<Upload>) {
        for upload in uploads {
            tokio::spawn(Arc::clone(self).upload(Arc::clone(file), upload));
        }
    }
}

fn full() -> Error {
    Error::Io(
        "the write buffers are full and the object store does not take the data in time".into(),
    )
}
