//! Going on where a predecessor stopped: its handles, and the bytes that it
//! acknowledged and did not commit.
//!
//! Extents that name one slice are one log. It is sealed at once: what its
//! predecessor had uploaded is known by extents without a page, and the rest uploads
//! now under the same keys, which is right however far the predecessor came.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
};

use carafe_state::{Entry, Extent, HandleRecord, Page, RecoveredPage, Recovery};
use carafe_types::{Error, Ino, Result, SliceId, Timestamp};

use crate::{
    Vfs,
    file::{
        File,
        log::{Log, Place},
    },
    handle::Kind,
    ops::open::First,
    reader::ahead::Ahead,
    shared::Core,
};

/// The extents of one log, and the pages that they lie in, by sheet.
#[derive(Default)]
struct Found {
    extents: Vec<Extent>,
    pages: HashMap<u32, Page>,
}

impl Vfs {
    /// Takes over what a predecessor left in the region. Call it before the first
    /// operation; what it held uploads and commits in the background from then on.
    /// After an error all of it is left for another successor.
    pub async fn adopt(&self, recovery: Recovery) -> Result<()> {
        let core = &self.core;
        if recovery.torn > 0 {
            tracing::error!(cells = recovery.torn, "what a predecessor left is damaged");
        }
        let kinds = match core.reopen_all(&recovery.handles).await {
            Ok(kinds) => kinds,
            Err(error) => {
                recovery.leave();
                return Err(error);
            }
        };
        for ((entry, record), kind) in recovery.handles.into_iter().zip(kinds) {
            // Dropping the entry closes what cannot be open any more.
            if let Some(kind) = kind {
                core.handles.adopt(entry, record, kind);
            }
        }
        let page_size = core.region.pool().page_size() as u32;
        for ((ino, index, slice), found) in group(recovery.pages, page_size) {
            let newest = found
                .extents
                .iter()
                .map(|extent| extent.record().order)
                .max();
            core.orders
                .fetch_max(newest.unwrap_or(0) + 1, Ordering::Relaxed);
            let file = core.files.find_or_make(Ino(ino));
            let place = core.place(&file, index);
            let log = Log::recovered(
                place,
                SliceId(slice),
                found.extents,
                found.pages,
                core.clock.now(),
            );
            core.enlist(&file, index, log);
        }
        for file in core.files.dirty() {
            core.resume(&file).await;
        }
        Ok(())
    }
}

impl Core {
    /// What each handle is of; none if its file is gone.
    async fn reopen_all(
        &self,
        handles: &[(Entry<HandleRecord>, HandleRecord)],
    ) -> Result<Vec<Option<Kind>>> {
        let mut kinds = Vec::with_capacity(handles.len());
        for (_, record) in handles {
            kinds.push(match self.reopen(record).await {
                Ok(kind) => Some(kind),
                Err(Error::NotFound) => {
                    tracing::warn!(inode = record.inode, "an open file is gone");
                    None
                }
                Err(error) => return Err(error),
            });
        }
        Ok(kinds)
    }

    async fn reopen(&self, record: &HandleRecord) -> Result<Kind> {
        let ino = Ino(record.inode);
        if let Some(node) = self.internal_node(ino) {
            return Ok(Kind::Virtual(self.internal_content(node)));
        }
        if record.directory != 0 {
            return self.directory(ino);
        }
        let (file, _) = self
            .open_file(&self.own_call(), self.inner(ino)?, First::Unknown)
            .await?;
        Ok(Kind::File {
            file,
            ahead: Arc::new(Ahead::default()),
        })
    }

    /// Puts a log into its queue, in the order of the writes.
    fn enlist(&self, file: &Arc<File>, index: u32, log: Log) {
        let mut state = file.state.lock();
        let queue = state.dirty.entry(index).or_default();
        let at = queue
            .logs
            .partition_point(|other| other.first_order() < log.first_order());
        queue.logs.insert(at, log);
        state.settle();
        state.dirty_mtime = self.clock.now();
        drop(state);
        self.files.mark_dirty(file);
    }

    /// Uploads what is not in the store. A file that is gone shows at the commit.
    async fn resume(self: &Arc<Self>, file: &Arc<File>) {
        let asked = file.state.lock().version;
        if let Ok(attr) = self.meta.getattr(&self.own_call(), file.ino).await {
            file.state.lock().learn(&attr, asked);
        }
        let mut uploads = Vec::new();
        file.state.lock().seal_all(&mut uploads);
        self.start(file, uploads);
        self.commits.enqueue(file);
    }
}

fn group(pages: Vec<RecoveredPage>, page_size: u32) -> BTreeMap<(u64, u32, u64), Found> {
    let mut logs: BTreeMap<(u64, u32, u64), Found> = BTreeMap::new();
    for RecoveredPage { page, extents } in pages {
        let first = extents.first().map(|extent| *extent.record());
        for extent in extents {
            let record = extent.record();
            logs.entry((record.inode, record.chunk, record.slice))
                .or_default()
                .extents
                .push(extent);
        }
        // A page belongs to one log: any of its extents says to which.
        if let (Some(page), Some(record)) = (page, first) {
            let found = logs
                .entry((record.inode, record.chunk, record.slice))
                .or_default();
            found.pages.insert(record.slice_offset / page_size, page);
        }
    }
    logs
}

impl Log {
    /// A log as its predecessor left it, sealed. `mtime` stands for the time of the
    /// writes, which is not on record.
    fn recovered(
        place: Place,
        slice: SliceId,
        extents: Vec<Extent>,
        pages: HashMap<u32, Page>,
        mtime: Timestamp,
    ) -> Self {
        let mut log = Self::new(place, slice, tokio::time::Instant::now());
        log.mtime = mtime;
        log.rebuild(extents, pages);
        log
    }
}
