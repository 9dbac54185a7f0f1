//! The logs of one chunk, in the order in which they must be committed.
//!
//! Where a write goes: over bytes of its own kind that are not frozen; or behind
//! the piece that it continues; or into a new piece. It never goes below a newer
//! piece: what is newer in time stands later in the queue, or later in its log.

use std::collections::VecDeque;

use carafe_state::Page;
use carafe_types::{Slice, SliceId, Timestamp, overlay};
use tokio::time::Instant;

use super::log::{Log, Need, Part, Piece, Place, Upload};

/// What a write brings along.
pub(crate) struct Put<'a> {
    /// Pages that were taken from the pool for it.
    pub(crate) bag: &'a mut Vec<Page>,
    /// The next slice id, if there is one.
    pub(crate) next_slice: &'a mut dyn FnMut() -> Option<SliceId>,
    /// The next number in the order of all pieces.
    pub(crate) next_order: &'a mut dyn FnMut() -> u64,
    pub(crate) mtime: Timestamp,
    /// Whether a log may hold several pieces.
    pub(crate) pack: bool,
}

/// A slice that nobody will refer to: its blocks can go.
pub(crate) type Garbage = (SliceId, u32);

/// The logs of one chunk, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) logs: VecDeque<Log>,
}

impl Queue {
    /// How many pieces a log gets before it is sealed.
    const MAX_PIECES: usize = 512;
    /// How many logs of a chunk may grow at a time.
    const MAX_OPEN: usize = 64;

    /// Takes as much of `data` as it has the means for.
    pub(crate) fn put(
        &mut self,
        place: Place,
        pos: u32,
        data: &[u8],
        put: &mut Put<'_>,
    ) -> (usize, Option<Need>) {
        let mut done = 0;
        while done < data.len() {
            match self.step(place, pos + done as u32, &data[done..], put) {
                Ok(taken) => done += taken,
                Err(need) => return (done, Some(need)),
            }
        }
        (done, None)
    }

    fn step(
        &mut self,
        place: Place,
        pos: u32,
        data: &[u8],
        put: &mut Put<'_>,
    ) -> Result<usize, Need> {
        if let Some((log, off, len)) = self.rewritable(pos, data.len() as u32) {
            let log = &mut self.logs[log];
            log.mtime = put.mtime;
            return log.rewrite(off, &data[..len as usize], put.bag);
        }
        let (log, len) = match self.continued(pos, data.len() as u32) {
            Some(found) => found,
            None => (self.new_piece(place, pos, put)?, data.len() as u32),
        };
        let log = &mut self.logs[log];
        log.mtime = put.mtime;
        let taken = log.append(&data[..len as usize], put.bag);
        log.end_piece();
        self.drop_empty();
        taken
    }

    /// The log whose bytes at `pos` are the newest and may be written over, where in
    /// it they are, and how many up to the next newer piece.
    fn rewritable(&self, pos: u32, len: u32) -> Option<(usize, u32, u32)> {
        let mut end = pos + len;
        for (index, log) in self.logs.iter().enumerate().rev() {
            for piece in log.pieces.iter().rev() {
                if piece.contains(pos) {
                    let off = piece.off + (pos - piece.pos);
                    let len = end.min(piece.end()) - pos;
                    return (off >= log.frozen()).then_some((index, off, len));
                }
                if piece.pos > pos {
                    end = end.min(piece.pos);
                }
            }
        }
        None
    }

    /// The log whose last piece ends at `pos`, and how many bytes it can take before
    /// they would hide under a newer piece.
    fn continued(&self, pos: u32, len: u32) -> Option<(usize, u32)> {
        let mut end = pos + len;
        for (index, log) in self.logs.iter().enumerate().rev() {
            if log.goes_on_at(pos) {
                return Some((index, (end - pos).min(log.room())));
            }
            for piece in &log.pieces {
                if piece.contains(pos) {
                    return None;
                }
                if piece.pos > pos {
                    end = end.min(piece.pos);
                }
            }
        }
        None
    }

    fn new_piece(&mut self, place: Place, pos: u32, put: &mut Put<'_>) -> Result<usize, Need> {
        let fits = |log: &Log| put.pack && log.room() > 0 && log.pieces.len() < Self::MAX_PIECES;
        if !self.logs.back().is_some_and(fits) {
            // Asked first, so that no log without bytes is left.
            if put.bag.is_empty() {
                return Err(Need::Page);
            }
            let slice = (put.next_slice)().ok_or(Need::Slice)?;
            self.logs.push_back(Log::new(place, slice, Instant::now()));
        }
        let index = self.logs.len() - 1;
        self.logs[index].begin_piece(pos, (put.next_order)());
        Ok(index)
    }

    fn drop_empty(&mut self) {
        if self
            .logs
            .back()
            .is_some_and(|log| log.pieces.is_empty() && log.frozen() == 0)
        {
            self.logs.pop_back();
        }
    }

    /// Freezes what is full, and seals logs that are too many or too long.
    pub(crate) fn freeze_full(&mut self, uploads: &mut Vec<Upload>) {
        let mut open = 0;
        for log in self.logs.iter_mut().rev() {
            log.freeze_full(uploads);
            open += usize::from(!log.sealed);
            if open > Self::MAX_OPEN || log.room() == 0 {
                log.seal(uploads);
            }
        }
    }

    /// Seals every log that `which` picks.
    pub(crate) fn seal(&mut self, mut which: impl FnMut(&Log) -> bool, uploads: &mut Vec<Upload>) {
        self.logs
            .iter_mut()
            .filter(|log| which(log))
            .for_each(|log| log.seal(uploads));
    }

    pub(crate) fn log(&mut self, slice: SliceId) -> Option<&mut Log> {
        self.logs.iter_mut().find(|log| log.slice == slice)
    }

    /// Marks the logs at the front that can be committed, and gives their records.
    pub(crate) fn take_ready(&mut self) -> Vec<(Slice, Timestamp)> {
        let mut records = Vec::new();
        for log in self.logs.iter_mut().take_while(|log| log.ready()) {
            log.committing = true;
            records.extend(log.records().into_iter().map(|record| (record, log.mtime)));
        }
        records
    }

    /// The logs that were committed, or refused, leave the queue.
    pub(crate) fn remove_committing(&mut self) -> Vec<Log> {
        let count = self.logs.iter().take_while(|log| log.committing).count();
        self.logs.drain(..count).collect()
    }

    /// Cuts everything at `end` and behind it; tells what need not stay in the store.
    pub(crate) fn cut(&mut self, end: u32, garbage: &mut Vec<Garbage>) {
        self.logs.retain_mut(|log| {
            let keep = log.cut(end);
            if !keep && log.size() > 0 {
                garbage.push((log.slice, log.size()));
            }
            keep
        });
    }

    /// The furthest byte that is written.
    pub(crate) fn end(&self) -> u32 {
        self.logs
            .iter()
            .flat_map(|log| &log.pieces)
            .map(Piece::end)
            .max()
            .unwrap_or(0)
    }

    /// What `[pos, pos + len)` reads as: parts of logs, and `None` where the committed
    /// slices answer, each with its length, in order.
    pub(crate) fn read(&self, pos: u32, len: u32) -> Vec<(u32, Option<Vec<Part>>)> {
        let segments = overlay(&self.pieces(pos, len), pos, len).into_iter();
        segments
            .map(|segment| {
                (
                    segment.len,
                    self.parts(segment.id, segment.off, segment.len),
                )
            })
            .collect()
    }

    /// The pieces that meet a range, as records.
    fn pieces(&self, pos: u32, len: u32) -> Vec<Slice> {
        let mut pieces = Vec::new();
        for log in &self.logs {
            let meets = log
                .pieces
                .iter()
                .filter(|piece| piece.pos < pos + len && piece.end() > pos);
            let record = |piece: &Piece| Slice {
                pos: piece.pos,
                id: log.slice,
                size: 0,
                off: piece.off,
                len: piece.len,
            };
            pieces.extend(meets.map(record));
        }
        pieces
    }

    /// Which parts of `[pos, pos + len)` are written, each with its length, in order.
    pub(crate) fn covered(&self, pos: u32, len: u32) -> Vec<(u32, bool)> {
        overlay(&self.pieces(pos, len), pos, len)
            .iter()
            .map(|segment| (segment.len, !segment.id.is_hole()))
            .collect()
    }

    fn parts(&self, slice: SliceId, off: u32, len: u32) -> Option<Vec<Part>> {
        let log = self.logs.iter().find(|log| log.slice == slice)?;
        let mut parts = Vec::new();
        log.read(off, len, &mut parts);
        Some(parts)
    }
}
