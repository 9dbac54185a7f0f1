//! Garbage: what the store and the engine hold for nobody.
//!
//! An object is **leaked** if it is **unfinished** (its writer died), or no slice on record has it and it is older than the time
//! within which every client commits what it uploads. The edge is set before the engine
//! is asked, so that the slice of an older object is on record by then; and what is to be
//! deleted is asked for a second time, since other clients move references about.

use std::{collections::HashSet, sync::Arc, time::Duration};

use carafe_meta::{Admin, Call, ChunkRecord};
use carafe_object::{ObjectStore, is_unfinished};
use carafe_types::{BlockKey, Clock, Error, Result};
use futures_util::{StreamExt, stream};

use crate::{
    Chore, Jobs,
    index::{Slices, block_of},
};

/// Entries, files or slices of one step.
const STEP: usize = 1000;
/// Deleted files that are counted.
const MOST_FILES: usize = 10_000_000;

/// What a collection may do.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// Delete what is found; otherwise nothing changes.
    pub delete: bool,
    /// Objects that are deleted at a time.
    pub threads: usize,
    /// Younger objects without a slice are left alone. Not below an hour where clients
    /// are at work: that is how long one may take from an upload to its commit.
    pub min_age: Duration,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self {
            delete: false,
            threads: 10,
            min_age: Duration::from_hours(1),
        }
    }
}

/// How many, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub number: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.number += 1;
        self.bytes += bytes;
    }
}

/// What a collection found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Slices that files refer to.
    pub slices: Count,
    /// Objects of the store's `chunks/`.
    pub scanned: Count,
    /// Objects of slices that files refer to.
    pub valid: Count,
    /// Objects of slices without references, which wait to be deleted.
    pub pending: Count,
    /// Objects of slices that compaction replaced, which wait for the trash's time.
    pub compacted: Count,
    /// Objects of no slice.
    pub leaked: Count,
    /// Objects of no slice that are too young to tell, or whose age the store does not say.
    pub skipped: Count,
    /// Objects whose names are no block's; they are left alone.
    pub strange: Count,
    /// Deleted files whose data is still there.
    pub deleted_files: Count,
    /// Entries of the trash that were removed because their time is over.
    pub trash_removed: u64,
    /// Deleted files that were taken apart.
    pub files_removed: u64,
    /// Slices without references whose objects were deleted.
    pub slices_removed: u64,
    /// Leaked objects that were deleted.
    pub leaked_removed: u64,
    /// Leaked objects that could not be deleted.
    pub failed: u64,
}

/// A collector of one volume.
pub struct Gc {
    meta: Arc<dyn Admin>,
    objects: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    call: Call,
}

/// What the engine knows of slices.
struct Known {
    used: Slices,
    waiting: Slices,
    dead: Slices,
}

impl Known {
    fn has(&self, block: BlockKey, block_size: u32) -> bool {
        [&self.used, &self.waiting, &self.dead]
            .iter()
            .any(|slices| slices.has_block(block, block_size))
    }
}

impl Gc {
    /// A collector of the volume that this engine and this store hold.
    pub fn new(meta: Arc<dyn Admin>, objects: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>) -> Self {
        Self {
            meta,
            objects,
            clock,
            call: Call::internal(),
        }
    }

    /// Looks for garbage and, if told to, deletes it.
    pub async fn run(&self, options: GcOptions) -> Result<GcReport> {
        let mut report = GcReport::default();
        let block_size = self.meta.load(&self.call).await?.block_bytes();
        if options.delete {
            self.reclaim(&mut report).await?;
        }
        let edge = self.clock.now().secs - options.min_age.as_secs() as i64;
        let known = self.known().await?;
        report.slices = Count {
            number: known.used.len() as u64,
            bytes: known.used.bytes(),
        };
        for file in self.meta.deleted_files(&self.call, MOST_FILES).await? {
            report.deleted_files.add(file.length);
        }
        let leaked = self.scan(&known, block_size, edge, &mut report).await?;
        if options.delete && !leaked.is_empty() {
            let leaked = self.confirmed(leaked, block_size).await?;
            self.delete(leaked, options.threads, &mut report).await;
        }
        Ok(report)
    }

    /// What is due by the engine's own books.
    async fn reclaim(&self, report: &mut GcReport) -> Result<()> {
        loop {
            let done = self.meta.expire_trash_now(&self.call, STEP).await?;
            report.trash_removed += done as u64;
            if done < STEP {
                break;
            }
        }
        loop {
            let done = self.meta.clean_deleted_files_now(&self.call, STEP).await?;
            report.files_removed += done as u64;
            if done < STEP {
                break;
            }
        }
        let jobs = Jobs::new(self.meta.clone(), self.objects.clone());
        loop {
            let (done, more) = jobs.step(Chore::DeadSlices, STEP).await?;
            report.slices_removed += done as u64;
            if !more {
                return Ok(());
            }
        }
    }

    /// Slices go from use into waiting, and from there to the dead, never back: asked for
    /// in this order, each is seen by one of the looks.
    async fn known(&self) -> Result<Known> {
        let used = Slices::in_use(self.meta.as_ref(), &self.call).await?;
        let waiting = self.meta.delayed_slices(&self.call).await?.into();
        let dead = self.meta.dead_slices(&self.call, usize::MAX >> 1).await?;
        Ok(Known {
            used,
            waiting,
            dead: dead.into(),
        })
    }

    /// Counts the store's objects; answers those that are leaked.
    async fn scan(
        &self,
        known: &Known,
        block_size: u32,
        edge: i64,
        report: &mut GcReport,
    ) -> Result<Vec<(String, Option<BlockKey>)>> {
        let (mut leaked, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.objects.list("chunks/", &after, STEP).await;
            let page = page.map_err(|error| Error::Io(error.to_string()))?;
            for object in page.objects {
                report.scanned.add(object.size);
                let block = block_of(&object.key);
                let is = |slices: &Slices| {
                    block.is_some_and(|block| slices.has_block(block, block_size))
                };
                let is_old = object.modified.is_some_and(|time| time < edge);
                let count = if block.is_none() && !is_unfinished(&object.key) {
                    &mut report.strange
                } else if is(&known.used) {
                    &mut report.valid
                } else if is(&known.waiting) {
                    &mut report.compacted
                } else if is(&known.dead) {
                    &mut report.pending
                } else if is_old {
                    leaked.push((object.key, block));
                    &mut report.leaked
                } else {
                    &mut report.skipped
                };
                count.add(object.size);
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(leaked),
            }
        }
    }

    /// Those of the leaked that a second look knows nothing of either.
    async fn confirmed(
        &self,
        mut leaked: Vec<(String, Option<BlockKey>)>,
        block_size: u32,
    ) -> Result<Vec<String>> {
        let blocks = leaked.iter().filter_map(|(_, block)| *block);
        let suspects: HashSet<_> = blocks.map(|block| block.slice).collect();
        let mut found = Vec::new();
        let mut visit = |chunk: ChunkRecord| {
            let again = chunk.slices.iter().filter(|one| suspects.contains(&one.id));
            found.extend(again.map(|slice| (slice.id, slice.size)));
        };
        self.meta.scan_chunks(&self.call, &mut visit).await?;
        let waiting = self.meta.delayed_slices(&self.call).await?.into();
        let dead = self.meta.dead_slices(&self.call, usize::MAX >> 1).await?;
        let known = Known {
            used: found.into(),
            waiting,
            dead: dead.into(),
        };
        leaked.retain(|(_, block)| !block.is_some_and(|block| known.has(block, block_size)));
        Ok(leaked.into_iter().map(|(key, _)| key).collect())
    }

    async fn delete(&self, keys: Vec<String>, threads: usize, report: &mut GcReport) {
        let deletions = keys.into_iter().map(|key| async move {
            let deleted = self.objects.delete(&key).await;
            (key, deleted)
        });
        let mut deletions = stream::iter(deletions).buffer_unordered(threads.max(1));
        while let Some((key, deleted)) = deletions.next().await {
            match deleted {
                Ok(()) => report.leaked_removed += 1,
                Err(error) => {
                    tracing::warn!(key, %error, "a leaked object was not deleted");
                    report.failed += 1;
                }
            }
        }
    }
}
