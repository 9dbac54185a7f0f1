//! Space within files: fallocate, seeking data and holes, copying ranges.

use std::sync::Arc;

use carafe_meta::{Call, Fallocate};
use carafe_types::{CHUNK_SIZE, ChunkSpan, Error, Ino, Result, chunk_spans, overlay};

use super::data::writable;
use crate::{Vfs, Whence, file::File, shared::Core};

impl Vfs {
    /// fallocate(2), in order with writes: what is dirty is flushed first.
    pub async fn fallocate(
        &self,
        call: &Call,
        ino: Ino,
        handle: u64,
        how: Fallocate,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        let core = &self.core;
        core.check_writable()?;
        let handle = core.handles.find(ino, handle)?;
        let file = writable(&handle)?;
        let _order = file.order.write().await;
        core.flush_file(file, Some(core.deadline(call))).await?;
        let attr = core
            .meta
            .fallocate(call, file.ino, how, offset, len)
            .await?;
        core.recent.changed(file.ino);
        let mut state = file.state.lock();
        state.lists.clear();
        state.changed_by_us(attr);
        Ok(())
    }

    /// The next data or hole from `offset`; `NoSuchOffset` behind the end. What is
    /// dirty is data.
    pub async fn lseek(
        &self,
        _call: &Call,
        ino: Ino,
        handle: u64,
        offset: u64,
        whence: Whence,
    ) -> Result<u64> {
        let handle = self.core.handles.find(ino, handle)?;
        let (file, _) = handle.file()?;
        let length = file.state.lock().length();
        if offset >= length {
            return Err(Error::NoSuchOffset);
        }
        for span in chunk_spans(offset, length - offset) {
            for (at, is_data) in self.core.layout(file, span).await? {
                if is_data == (whence == Whence::Data) {
                    return Ok(at);
                }
            }
        }
        match whence {
            Whence::Data => Err(Error::NoSuchOffset),
            Whence::Hole => Ok(length),
        }
    }

    /// Copies by reference; answers how many bytes. Each end is (inode, handle, offset),
    /// the first open for reading, the second for writing. What is dirty of either is
    /// flushed first.
    pub async fn copy_file_range(
        &self,
        call: &Call,
        from: (Ino, u64, u64),
        to: (Ino, u64, u64),
        len: u64,
    ) -> Result<u64> {
        let core = &self.core;
        core.check_writable()?;
        let source = core.handles.find(from.0, from.1)?;
        let target = core.handles.find(to.0, to.1)?;
        let (source, target) = (source.file()?.0, writable(&target)?);
        // In the order of inodes, so that two copies never wait for each other.
        let (first, second) = if source.ino <= target.ino {
            (source, target)
        } else {
            (target, source)
        };
        let _first = first.order.write().await;
        let _second = if first.ino == second.ino {
            None
        } else {
            Some(second.order.write().await)
        };
        core.flush_file(source, Some(core.deadline(call))).await?;
        core.flush_file(target, Some(core.deadline(call))).await?;
        let (copied, attr) = core
            .meta
            .copy_range(call, source.ino, from.2, target.ino, to.2, len)
            .await?;
        core.recent.changed(target.ino);
        let mut state = target.state.lock();
        state.lists.clear();
        state.changed_by_us(attr);
        Ok(copied)
    }
}

impl Core {
    /// Runs of data and holes of a span, each with the offset where it starts.
    async fn layout(&self, file: &Arc<File>, span: ChunkSpan) -> Result<Vec<(u64, bool)>> {
        let layers = {
            let state = file.state.lock();
            let queue = state.dirty.get(&span.index);
            queue.map_or_else(
                || vec![(span.len, false)],
                |queue| queue.covered(span.pos, span.len),
            )
        };
        let list = self.list(file, span.index).await?;
        let start = u64::from(span.index) * CHUNK_SIZE;
        let (mut pos, mut runs) = (span.pos, Vec::new());
        for (len, dirty) in layers {
            if dirty {
                runs.push((start + u64::from(pos), true));
            } else {
                let segments = overlay(&list, pos, len).into_iter();
                runs.extend(
                    segments.map(|segment| (start + u64::from(segment.pos), !segment.id.is_hole())),
                );
            }
            pos += len;
        }
        Ok(runs)
    }
}
