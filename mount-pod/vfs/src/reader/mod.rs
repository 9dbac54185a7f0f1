//! From a range of a file to its bytes.
//!
//! A read takes a **snapshot** under the file's lock: the parts that are dirty, and
//! the cached slice lists. A list that is not cached is asked for after the snapshot,
//! so it has at least what was committed before it; what was committed between the
//! two is in both, and reads the same. So no flush is needed, and no lock is held
//! while bytes come from the store.

pub(crate) mod ahead;
mod fetch;
pub(crate) mod neighbours;

use std::sync::Arc;

use bytes::Bytes;
use carafe_chunk::Access;
use carafe_types::{ChunkSpan, Result, Segment, Slice, SliceId, chunk_spans, overlay};
use futures_util::future::try_join_all;

use crate::{
    file::{File, log::Part},
    shared::Core,
};

/// A part of a chunk: dirty, or (`None`) what the committed slices say.
type Layer = (u32, Option<Vec<Part>>);

/// What a read found under the lock.
struct Snapshot {
    spans: Vec<SpanSnapshot>,
    version: u64,
}

struct SpanSnapshot {
    span: ChunkSpan,
    layers: Vec<Layer>,
    list: Option<Arc<[Slice]>>,
}

/// Where a run of bytes comes from.
enum Source {
    Bytes(Bytes),
    Zeros(u32),
    Stored {
        slice: SliceId,
        size: u32,
        off: u32,
        len: u32,
    },
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Core {
    /// At most `len` bytes from `offset`; fewer only at the end of the file. Slices
    /// that another client compacted away meanwhile are looked up anew, once.
    pub(crate) async fn read_file(
        &self,
        file: &Arc<File>,
        offset: u64,
        len: usize,
        access: Access,
    ) -> Result<Vec<Bytes>> {
        match self.read_once(file, offset, len, access).await {
            Err(error) if !file.state.lock().lists.is_empty() => {
                tracing::debug!(ino = %file.ino, %error, "a read failed: its slice lists are asked for again");
                file.state.lock().lists.clear();
                self.read_once(file, offset, len, access).await
            }
            done => done,
        }
    }

    async fn read_once(
        &self,
        file: &Arc<File>,
        offset: u64,
        len: usize,
        access: Access,
    ) -> Result<Vec<Bytes>> {
        let snapshot = snapshot(file, offset, len);
        let mut sources = Vec::new();
        for span in snapshot.spans {
            self.resolve(file, span, snapshot.version, &mut sources)
                .await?;
        }
        let fetches = sources.into_iter().map(|source| self.fetch(source, access));
        Ok(try_join_all(fetches).await?.concat())
    }

    async fn resolve(
        &self,
        file: &File,
        span: SpanSnapshot,
        version: u64,
        sources: &mut Vec<Source>,
    ) -> Result<()> {
        let SpanSnapshot { span, layers, list } = span;
        let list = match list {
            Some(list) => list,
            None if layers.iter().all(|(_, parts)| parts.is_some()) => Arc::default(),
            None => self.fetch_list(file, span.index, version).await?,
        };
        let mut pos = span.pos;
        for (len, parts) in layers {
            match parts {
                Some(parts) => sources.extend(parts.into_iter().map(Source::from)),
                None => sources.extend(overlay(&list, pos, len).into_iter().map(Source::from)),
            }
            pos += len;
        }
        Ok(())
    }

    /// A chunk's slice list from the engine; kept if nothing of ours came between.
    async fn fetch_list(&self, file: &File, index: u32, version: u64) -> Result<Arc<[Slice]>> {
        let list = self
            .meta
            .read_chunk(&self.own_call(), file.ino, index)
            .await?;
        self.saw_list(file.ino, index, &list);
        file.state.lock().keep_list(index, &list, version);
        Ok(list)
    }

    /// A chunk's slice list, cached or not.
    pub(crate) async fn list(&self, file: &File, index: u32) -> Result<Arc<[Slice]>> {
        let (cached, version) = {
            let state = file.state.lock();
            (state.lists.get(&index).cloned(), state.version)
        };
        match cached {
            Some(list) => Ok(list),
            None => self.fetch_list(file, index, version).await,
        }
    }

    async fn fetch(&self, source: Source, access: Access) -> Result<Vec<Bytes>> {
        match source {
            Source::Bytes(bytes) => Ok(vec![bytes]),
            Source::Zeros(len) => Ok(zeros(len)),
            Source::Stored {
                slice,
                size,
                off,
                len,
            } => self.blocks.read(slice, size, off, len, access).await,
        }
    }
}

fn snapshot(file: &File, offset: u64, len: usize) -> Snapshot {
    let state = file.state.lock();
    let end = offset.saturating_add(len as u64).min(state.length());
    let of = |span: ChunkSpan| SpanSnapshot {
        span,
        layers: match state.dirty.get(&span.index) {
            Some(queue) => queue.read(span.pos, span.len),
            None => vec![(span.len, None)],
        },
        list: state.lists.get(&span.index).cloned(),
    };
    let spans = chunk_spans(offset, end.saturating_sub(offset))
        .map(of)
        .collect();
    Snapshot {
        spans,
        version: state.version,
    }
}

impl From<Part> for Source {
    fn from(part: Part) -> Self {
        match part {
            Part::Bytes(bytes) => Self::Bytes(bytes),
            Part::Stored {
                slice,
                size,
                off,
                len,
            } => Self::Stored {
                slice,
                size,
                off,
                len,
            },
        }
    }
}

impl From<Segment> for Source {
    fn from(segment: Segment) -> Self {
        let Segment {
            id: slice,
            size,
            off,
            len,
            ..
        } = segment;
        if slice.is_hole() {
            Self::Zeros(len)
        } else {
            Self::Stored {
                slice,
                size,
                off,
                len,
            }
        }
    }
}

pub(crate) fn zeros(len: u32) -> Vec<Bytes> {
    let whole = ZEROS.len() as u32;
    let mut parts = vec![Bytes::from_static(&ZEROS); (len / whole) as usize];
    if !len.is_multiple_of(whole) {
        parts.push(Bytes::from_static(&ZEROS[..(len % whole) as usize]));
    }
    parts
}
