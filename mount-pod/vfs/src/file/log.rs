//! A log: a slice that is being made.
//!
//! Its bytes lie one behind the other in **sheets**, one page of the pool each;
//! **pieces** say where in the chunk they belong, the newest last. What is handed
//! to an upload is **frozen**: nobody writes there again. A sheet whose block is in
//! the store gives its page back; its records stay until the commit.

use std::collections::HashMap;

use bytes::Bytes;
use carafe_state::{Extent, ExtentRecord, Page};
use carafe_types::{BlockKey, CHUNK_SIZE, Slice, SliceId, Timestamp, block_count, block_len};
use tokio::time::Instant;

/// Where a run of a log's bytes stands in the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) pos: u32,
    pub(crate) off: u32,
    pub(crate) len: u32,
    /// Which of two overlapping pieces is newer, also for a successor.
    pub(crate) order: u64,
}

impl Piece {
    pub(crate) fn end(&self) -> u32 {
        self.pos + self.len
    }

    pub(crate) fn contains(&self, pos: u32) -> bool {
        self.pos <= pos && pos < self.end()
    }
}

/// What a step of a write lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A page of the pool.
    Page,
    /// A slice id.
    Slice,
    /// A record in the region: extents of others must go first.
    Record,
}

/// One page of a log.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) page: Option<Page>,
    pub(super) extents: Vec<Extent>,
}

/// How far a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockState {
    Uploading,
    Stored,
    Failed,
}

/// A block to upload.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) index: u32,
    pub(crate) key: BlockKey,
    pub(crate) parts: Vec<Bytes>,
}

/// A part of what was read of a log.
#[derive(Debug)]
pub(crate) enum Part {
    /// Bytes of the pool.
    Bytes(Bytes),
    /// Bytes that the store has already.
    Stored {
        slice: SliceId,
        size: u32,
        off: u32,
        len: u32,
    },
}

/// The file and chunk that a log belongs to, and the sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) ino: u64,
    pub(crate) index: u32,
    pub(crate) block_size: u32,
    pub(crate) page_size: u32,
}

/// A slice that is being made.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) slice: SliceId,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) len: u32,
    pub(crate) sealed: bool,
    /// Its records are on their way to the engine.
    pub(crate) committing: bool,
    pub(crate) born: Instant,
    pub(crate) mtime: Timestamp,
    pub(super) sheets: Vec<Sheet>,
    pub(super) blocks: Vec<BlockState>,
    place: Place,
}

impl Log {
    /// As many bytes as a chunk: no slice of the format is larger.
    const MAX_LEN: u32 = CHUNK_SIZE as u32;
    /// Below this, bytes that may still be rewritten are copied for a reader: a view
    /// would make the next write of them move the page.
    const COPY: usize = 64 << 10;

    pub(crate) fn new(place: Place, slice: SliceId, born: Instant) -> Self {
        Self {
            slice,
            pieces: Vec::new(),
            len: 0,
            sealed: false,
            committing: false,
            born,
            mtime: Timestamp::default(),
            sheets: Vec::new(),
            blocks: Vec::new(),
            place,
        }
    }

    /// The first byte that may still be written.
    pub(crate) fn frozen(&self) -> u32 {
        if self.sealed {
            self.len
        } else {
            self.blocks.len() as u32 * self.place.block_size
        }
    }

    /// How many bytes it can take.
    pub(crate) fn room(&self) -> u32 {
        if self.sealed {
            0
        } else {
            Self::MAX_LEN - self.len
        }
    }

    /// Whether bytes that follow its last piece can be added to that piece.
    pub(crate) fn goes_on_at(&self, pos: u32) -> bool {
        let last = self.pieces.last();
        self.room() > 0
            && last.is_some_and(|piece| piece.end() == pos && piece.off + piece.len == self.len)
    }

    /// Begins a piece at `pos`; [`Log::append`] fills it.
    pub(crate) fn begin_piece(&mut self, pos: u32, order: u64) {
        self.pieces.push(Piece {
            pos,
            off: self.len,
            len: 0,
            order,
        });
    }

    /// Takes back a piece that got no bytes.
    pub(crate) fn end_piece(&mut self) {
        if self.pieces.last().is_some_and(|piece| piece.len == 0) {
            self.pieces.pop();
        }
    }

    /// Adds bytes to the last piece, as many as fit in one sheet.
    pub(crate) fn append(&mut self, data: &[u8], bag: &mut Vec<Page>) -> Result<usize, Need> {
        let (sheet, at) = (
            (self.len / self.place.page_size) as usize,
            self.len % self.place.page_size,
        );
        let take = data
            .len()
            .min((self.place.page_size - at) as usize)
            .min(self.room() as usize);
        if sheet == self.sheets.len() {
            let page = bag.pop().ok_or(Need::Page)?;
            self.sheets.push(Sheet {
                page: Some(page),
                extents: Vec::new(),
            });
        }
        let Some(piece) = self.pieces.last().copied() else {
            return Ok(0);
        };
        self.write_sheet(sheet, at, &data[..take], bag)?;
        self.publish(sheet, &piece, at, take as u32)?;
        self.len += take as u32;
        if let Some(piece) = self.pieces.last_mut() {
            piece.len += take as u32;
        }
        Ok(take)
    }

    /// Writes over bytes that are not frozen, as many as lie in one sheet.
    pub(crate) fn rewrite(
        &mut self,
        off: u32,
        data: &[u8],
        bag: &mut Vec<Page>,
    ) -> Result<usize, Need> {
        let (sheet, at) = (
            (off / self.place.page_size) as usize,
            off % self.place.page_size,
        );
        let take = data.len().min((self.place.page_size - at) as usize);
        self.write_sheet(sheet, at, &data[..take], bag)?;
        Ok(take)
    }

    /// Copies into a sheet; one that somebody reads is moved to another page first.
    fn write_sheet(
        &mut self,
        index: usize,
        at: u32,
        data: &[u8],
        bag: &mut Vec<Page>,
    ) -> Result<(), Need> {
        let sheet = &mut self.sheets[index];
        let page = sheet.page.as_mut().ok_or(Need::Page)?;
        if page.write(at as usize, data).is_ok() {
            return Ok(());
        }
        let mut moved = bag.pop().ok_or(Need::Page)?;
        let used = (self.len as usize)
            .saturating_sub(index * page.capacity())
            .min(page.capacity());
        // A page fresh from the pool has no views, so these cannot be refused.
        let copied = moved.write(0, page.as_slice(0..used)).is_ok()
            && moved.write(at as usize, data).is_ok();
        let extents: Result<Vec<_>, _> = sheet
            .extents
            .iter()
            .map(|extent| moved.publish(*extent.record()))
            .collect();
        match extents {
            Ok(extents) if copied => {
                *sheet = Sheet {
                    page: Some(moved),
                    extents,
                }
            }
            _ => return Err(Need::Record),
        }
        Ok(())
    }

    /// Publishes that `len` more bytes of `piece` lie at `at` of a sheet.
    fn publish(&mut self, index: usize, piece: &Piece, at: u32, len: u32) -> Result<(), Need> {
        let sheet = &mut self.sheets[index];
        let follows = |record: &ExtentRecord| {
            record.order == piece.order && record.page_offset + record.len == at
        };
        if let Some(last) = sheet
            .extents
            .last_mut()
            .filter(|extent| follows(extent.record()))
        {
            last.update(|record| record.len += len);
            return Ok(());
        }
        let record = ExtentRecord {
            inode: self.place.ino,
            slice: self.slice.0,
            order: piece.order,
            chunk: self.place.index,
            position: piece.end(),
            len,
            page: 0,
            page_offset: at,
            slice_offset: self.len,
        };
        let page = sheet.page.as_ref().ok_or(Need::Page)?;
        sheet
            .extents
            .push(page.publish(record).map_err(|_| Need::Record)?);
        Ok(())
    }

    /// Freezes the blocks that are full.
    pub(crate) fn freeze_full(&mut self, uploads: &mut Vec<Upload>) {
        while !self.sealed && self.len - self.frozen() >= self.place.block_size {
            self.blocks.push(BlockState::Uploading);
            uploads.extend(self.upload(self.blocks.len() as u32 - 1));
        }
    }

    /// Ends the log: what is left of it is frozen.
    pub(crate) fn seal(&mut self, uploads: &mut Vec<Upload>) {
        if self.sealed {
            return;
        }
        self.freeze_full(uploads);
        self.sealed = true;
        if self.blocks.len() < block_count(self.len, self.place.block_size) as usize {
            self.blocks.push(BlockState::Uploading);
            uploads.extend(self.upload(self.blocks.len() as u32 - 1));
        }
    }

    /// Uploads again what failed.
    pub(crate) fn retry(&mut self, uploads: &mut Vec<Upload>) {
        for block in 0..self.blocks.len() {
            if self.blocks[block] == BlockState::Failed {
                self.blocks[block] = BlockState::Uploading;
                uploads.extend(self.upload(block as u32));
            }
        }
    }

    fn sheets_of(&self, block: u32) -> std::ops::Range<usize> {
        let per_block = (self.place.block_size / self.place.page_size) as usize;
        let start = block as usize * per_block;
        start.min(self.sheets.len())..(start + per_block).min(self.sheets.len())
    }

    fn upload(&self, block: u32) -> Option<Upload> {
        let size = block_len(self.frozen(), self.place.block_size, block);
        let mut left = size as usize;
        let mut parts = Vec::new();
        for sheet in &self.sheets[self.sheets_of(block)] {
            let page = sheet.page.as_ref()?;
            let take = left.min(page.capacity());
            parts.push(page.view(0..take));
            left -= take;
        }
        Some(Upload {
            index: self.place.index,
            key: BlockKey {
                slice: self.slice,
                index: block,
                size,
            },
            parts,
        })
    }

    /// A block is in the store, or is not.
    pub(crate) fn uploaded(&mut self, block: u32, stored: bool) {
        let Some(state) = self.blocks.get_mut(block as usize) else {
            return;
        };
        *state = if stored {
            BlockState::Stored
        } else {
            BlockState::Failed
        };
        if stored {
            let sheets = self.sheets_of(block);
            for sheet in &mut self.sheets[sheets] {
                sheet.extents.iter_mut().for_each(Extent::uploaded);
                sheet.page = None;
            }
        }
    }

    /// Whether it can be committed.
    pub(crate) fn ready(&self) -> bool {
        self.sealed && self.blocks.iter().all(|block| *block == BlockState::Stored)
    }

    /// The records that its commit appends, oldest first.
    pub(crate) fn records(&self) -> Vec<Slice> {
        let record = |piece: &Piece| Slice {
            pos: piece.pos,
            id: self.slice,
            size: self.len,
            off: piece.off,
            len: piece.len,
        };
        self.pieces.iter().map(record).collect()
    }

    /// How many bytes still lie in the pool.
    pub(crate) fn held(&self) -> usize {
        self.sheets
            .iter()
            .filter(|sheet| sheet.page.is_some())
            .count()
            * self.place.page_size as usize
    }

    /// Reads `[off, off + len)`.
    pub(crate) fn read(&self, off: u32, len: u32, parts: &mut Vec<Part>) {
        let (mut at, end) = (off, off + len);
        while at < end {
            let page_size = self.place.page_size;
            let (index, from) = ((at / page_size) as usize, (at % page_size) as usize);
            let take = (page_size as usize - from).min((end - at) as usize);
            match self.sheets.get(index).and_then(|sheet| sheet.page.as_ref()) {
                Some(page) => parts.push(Part::Bytes(self.take_bytes(
                    page,
                    at,
                    from..from + take,
                    len as usize,
                ))),
                None => self.push_stored(at, take as u32, parts),
            }
            at += take as u32;
        }
    }

    fn take_bytes(
        &self,
        page: &Page,
        off: u32,
        range: std::ops::Range<usize>,
        wanted: usize,
    ) -> Bytes {
        if off >= self.frozen() && wanted <= Self::COPY {
            Bytes::copy_from_slice(page.as_slice(range))
        } else {
            page.view(range)
        }
    }

    fn push_stored(&self, at: u32, take: u32, parts: &mut Vec<Part>) {
        if let Some(Part::Stored {
            slice, off, len, ..
        }) = parts.last_mut()
            && *slice == self.slice
            && *off + *len == at
        {
            *len += take;
            return;
        }
        parts.push(Part::Stored {
            slice: self.slice,
            size: self.frozen(),
            off: at,
            len: take,
        });
    }

    /// Cuts off what stands at `end` of the chunk and behind it. Whether pieces are left.
    pub(crate) fn cut(&mut self, end: u32) -> bool {
        for piece in &mut self.pieces {
            piece.len = piece.len.min(end.saturating_sub(piece.pos));
        }
        self.pieces.retain(|piece| piece.len > 0);
        for sheet in &mut self.sheets {
            sheet
                .extents
                .retain(|extent| extent.record().position < end);
            for extent in &mut sheet.extents {
                let keep = end - extent.record().position;
                if extent.record().len > keep {
                    extent.update(|record| record.len = keep);
                }
            }
        }
        !self.pieces.is_empty()
    }

    /// The size of what is or may be in the store, for those who delete it.
    pub(crate) fn size(&self) -> u32 {
        self.frozen()
    }

    /// The number of its oldest piece.
    pub(crate) fn first_order(&self) -> u64 {
        self.pieces.first().map_or(u64::MAX, |piece| piece.order)
    }

    /// Fills an empty log from what a predecessor published, and seals it. Blocks of
    /// which any extent lost its page are in the store.
    pub(crate) fn rebuild(&mut self, mut extents: Vec<Extent>, mut pages: HashMap<u32, Page>) {
        extents.sort_by_key(|extent| (extent.record().order, extent.record().slice_offset));
        for extent in extents {
            let record = *extent.record();
            self.len = self.len.max(record.slice_offset + record.len);
            self.add_recovered(&record);
            let sheet = record.slice_offset / self.place.page_size;
            while self.sheets.len() <= sheet as usize {
                let page = pages.remove(&(self.sheets.len() as u32));
                self.sheets.push(Sheet {
                    page,
                    extents: Vec::new(),
                });
            }
            self.sheets[sheet as usize].extents.push(extent);
        }
        self.sealed = true;
        for block in 0..block_count(self.len, self.place.block_size) {
            let stored = self.sheets[self.sheets_of(block)]
                .iter()
                .any(|sheet| sheet.page.is_none());
            self.blocks.push(if stored {
                BlockState::Stored
            } else {
                BlockState::Failed
            });
        }
    }

    fn add_recovered(&mut self, record: &ExtentRecord) {
        match self
            .pieces
            .last_mut()
            .filter(|piece| piece.order == record.order)
        {
            Some(piece) => piece.len = record.slice_offset + record.len - piece.off,
            None => self.pieces.push(Piece {
                pos: record.position,
                off: record.slice_offset,
                len: record.len,
                order: record.order,
            }),
        }
    }

    /// Leaves pages and records for a successor.
    pub(crate) fn leave(self) {
        for sheet in self.sheets {
            sheet.extents.into_iter().for_each(Extent::leave);
            std::mem::forget(sheet.page);
        }
    }
}
