//! Whether the store has every block that files refer to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use carafe_meta::{Admin, Call, ChunkRecord};
use carafe_object::{ObjectError, ObjectStore};
use carafe_types::{
    BlockKey, Compression, Error, Format, Ino, Result, Slice, block_count, block_len,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    gc::Count,
    index::{Seen, Slices, block_of},
};

/// Objects of a listing's page.
const PAGE: usize = 1000;
/// Slices that are asked for at a time.
const AT_ONCE: usize = 10;
/// Places of slices that are looked at one by one; the rest is not named.
const MOST_SUSPECTS: usize = 100_000;

/// A block that a file refers to and that is not in the store, or not whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostBlock {
    /// The file.
    pub ino: Ino,
    /// The object's key below the volume's name.
    pub key: String,
    /// The bytes that it should have.
    pub size: u32,
    /// The bytes that it has, if it is there.
    pub found: Option<u64>,
}

/// What a check of the data found.
#[derive(Clone, Debug, Default)]
pub struct DataReport {
    /// Objects of blocks in the store.
    pub blocks: Count,
    /// Slices that files refer to.
    pub slices: Count,
    /// What is lost.
    pub lost: BTreeSet<LostBlock>,
    /// The paths of the files that lost something. A file without one is deleted
    /// already, and its loss no loss.
    pub paths: BTreeMap<Ino, Vec<Vec<u8>>>,
    /// Whether there is more than what was looked at.
    pub more: bool,
}

impl DataReport {
    /// What files with names have lost.
    pub fn losses(&self) -> impl Iterator<Item = &LostBlock> {
        let has_name = |lost: &&LostBlock| {
            let paths = self.paths.get(&lost.ino);
            paths.is_some_and(|paths| !paths.is_empty())
        };
        self.lost.iter().filter(has_name)
    }
}

/// A slice where a file refers to it.
#[derive(Clone, Copy)]
struct Suspect {
    ino: Ino,
    index: u32,
    slice: Slice,
}

/// A checker of one volume's data.
pub struct DataCheck {
    meta: Arc<dyn Admin>,
    objects: Arc<dyn ObjectStore>,
    format: Format,
    call: Call,
}

impl DataCheck {
    /// A checker of the volume with this setting.
    pub fn new(meta: Arc<dyn Admin>, objects: Arc<dyn ObjectStore>, format: Format) -> Self {
        Self {
            meta,
            objects,
            format,
            call: Call::internal(),
        }
    }

    /// Compares all objects with all slices. What a listing did not show is asked for by
    /// name, and lost only if its file refers to it still.
    pub async fn run(&self) -> Result<DataReport> {
        let mut report = DataReport::default();
        let slices = Slices::in_use(self.meta.as_ref(), &self.call).await?;
        report.slices = Count {
            number: slices.len() as u64,
            bytes: slices.bytes(),
        };
        let mut seen = Seen::nothing_of(slices, self.format.block_bytes());
        self.list(&mut seen, &mut report).await?;
        let incomplete = seen.incomplete();
        drop(seen);
        if incomplete.len() > 0 {
            let suspects = self.places(&incomplete, &mut report).await?;
            let checks = suspects.into_iter().map(|suspect| self.lost(suspect));
            let mut checks = stream::iter(checks).buffer_unordered(AT_ONCE);
            while let Some(lost) = checks.try_next().await? {
                report.lost.extend(lost);
            }
            self.name_files(&mut report).await?;
        }
        Ok(report)
    }

    async fn list(&self, seen: &mut Seen, report: &mut DataReport) -> Result<()> {
        let mut after = String::new();
        loop {
            let page = self.objects.list("chunks/", &after, PAGE).await;
            let page = page.map_err(|error| Error::Io(error.to_string()))?;
            for object in page.objects {
                let Some(block) = block_of(&object.key) else {
                    continue;
                };
                report.blocks.add(object.size);
                if self.is_whole(block, object.size) {
                    seen.mark(block);
                }
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// A plain object has its block's length.
    fn is_whole(&self, block: BlockKey, stored: u64) -> bool {
        let plain =
            self.format.compression == Compression::None && self.format.encrypt_key.is_empty();
        !plain || stored == u64::from(block.size)
    }

    /// Where files refer to slices.
    async fn places(&self, slices: &Slices, report: &mut DataReport) -> Result<Vec<Suspect>> {
        let (mut places, mut more) = (Vec::new(), false);
        let mut visit = |chunk: ChunkRecord| {
            for &slice in &chunk.slices {
                if !slices.contains(slice.id, slice.size) {
                    continue;
                }
                more |= places.len() >= MOST_SUSPECTS;
                if !more {
                    places.push(Suspect {
                        ino: chunk.ino,
                        index: chunk.index,
                        slice,
                    });
                }
            }
        };
        self.meta.scan_chunks(&self.call, &mut visit).await?;
        report.more = more;
        Ok(places)
    }

    /// The blocks of a slice that are lost, if its file refers to it still.
    async fn lost(&self, suspect: Suspect) -> Result<Vec<LostBlock>> {
        let (slice, size) = (suspect.slice.id, suspect.slice.size);
        let block_size = self.format.block_bytes();
        let mut lost = Vec::new();
        for index in 0..block_count(size, block_size) {
            let block = BlockKey {
                slice,
                index,
                size: block_len(size, block_size, index),
            };
            let key = block.object_key(self.format.hash_prefix);
            let found = match self.objects.head(&key).await {
                Ok(object) if self.is_whole(block, object.size) => continue,
                Ok(object) => Some(object.size),
                Err(ObjectError::NotFound(_)) => None,
                Err(error) => return Err(Error::Io(error.to_string())),
            };
            lost.push(LostBlock {
                ino: suspect.ino,
                key,
                size: block.size,
                found,
            });
        }
        if lost.is_empty() {
            return Ok(lost);
        }
        let now = self.meta.read_chunk(&self.call, suspect.ino, suspect.index);
        if now.await?.iter().all(|now| now.id != slice) {
            lost.clear();
        }
        Ok(lost)
    }

    async fn name_files(&self, report: &mut DataReport) -> Result<()> {
        let files: BTreeSet<Ino> = report.lost.iter().map(|lost| lost.ino).collect();
        for ino in files {
            let paths = match self.meta.paths(&self.call, ino).await {
                Err(Error::NotFound) => Vec::new(),
                other => other?,
            };
            report.paths.insert(ino, paths);
        }
        Ok(())
    }
}
