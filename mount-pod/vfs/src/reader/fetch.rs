//! Fetching ahead of readers: what a handle reads next, and the files that follow.

use std::{ops::Range, sync::Arc};

use carafe_types::{Ino, Result, chunk_spans, overlay};
use futures_util::future::join_all;

use super::{ahead::Ahead, neighbours::Small};
use crate::{file::File, shared::Core};

impl Core {
    /// Brings a range into the cache, for as long as the reader does not jump.
    pub(crate) async fn read_ahead(
        self: Arc<Self>,
        file: Arc<File>,
        ahead: Arc<Ahead>,
        turn: u64,
        range: Range<u64>,
    ) {
        if let Err(error) = self.prefetch(&file, &ahead, turn, range).await {
            tracing::debug!(ino = %file.ino, %error, "no read-ahead");
        }
    }

    async fn prefetch(
        &self,
        file: &File,
        ahead: &Ahead,
        turn: u64,
        range: Range<u64>,
    ) -> Result<()> {
        let committed = file
            .state
            .lock()
            .attr
            .as_ref()
            .map_or(0, |attr| attr.length);
        let end = range.end.min(committed);
        for span in chunk_spans(range.start, end.saturating_sub(range.start)) {
            let list = self.list(file, span.index).await?;
            for segment in overlay(&list, span.pos, span.len)
                .iter()
                .filter(|segment| !segment.id.is_hole())
            {
                let end =
                    span.file_offset() - u64::from(span.pos) + u64::from(segment.pos + segment.len);
                let prefetch =
                    self.blocks
                        .prefetch(segment.id, segment.size, segment.off, segment.len);
                ahead.keep(turn, end, prefetch);
            }
        }
        Ok(())
    }

    /// A file was opened for reading: begins to fetch what follows it, if its reader
    /// seems to be on the way there.
    pub(crate) fn look_ahead(self: &Arc<Self>, file: &File) {
        let dir = file.state.lock().attr.as_ref().map(|attr| attr.parent);
        let files = dir.map(|dir| (dir, self.neighbours.opened(dir, file.ino)));
        if let Some((dir, files)) = files.filter(|(_, files)| !files.is_empty()) {
            tokio::spawn(Arc::clone(self).fetch_files(dir, files));
        }
    }

    async fn fetch_files(self: Arc<Self>, dir: Ino, files: Vec<(usize, Small)>) {
        let call = self.own_call();
        let lists = files
            .iter()
            .map(|(_, (ino, _))| self.meta.read_chunk(&call, *ino, 0));
        let lists = join_all(lists).await;
        for ((place, (_, length)), list) in files.into_iter().zip(lists) {
            // Who reads the file asks again, and hears what is wrong.
            let Ok(list) = list else { continue };
            let segments = overlay(&list, 0, length as u32);
            for segment in segments.iter().filter(|segment| !segment.id.is_hole()) {
                let prefetch =
                    self.blocks
                        .prefetch(segment.id, segment.size, segment.off, segment.len);
                self.neighbours.keep(dir, place, prefetch);
            }
        }
    }
}
