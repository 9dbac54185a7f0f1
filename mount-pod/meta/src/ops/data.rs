//! Data: slices that are committed, holes that are punched, ranges that are copied.

use std::{collections::BTreeMap, sync::Arc};

use carafe_types::{
    Attr, CHUNK_SIZE, Error, FileType, Ino, Result, Segment, Slice, chunk_spans, flags, overlay,
};

use crate::{
    Fallocate, SliceCommit,
    ops::{
        Ctx, Mutation, Plan, Planned, Read, Reads, Stop, Want,
        attrs::{MAX_LENGTH, check_writable},
        book_growth, existing,
    },
};

/// Appends one file's slices and grows it.
pub(crate) fn commit(
    reads: &dyn Reads,
    ctx: &Ctx,
    ino: Ino,
    commits: &[SliceCommit],
) -> Plan<Attr> {
    let mut attr = existing(reads, ino)?;
    if attr.kind != FileType::File {
        return Err(Error::NotPermitted.into());
    }
    let mut out = Vec::new();
    let mut length = attr.length;
    for commit in commits {
        let end = u64::from(commit.index) * CHUNK_SIZE
            + u64::from(commit.slice.pos)
            + u64::from(commit.slice.len);
        length = length.max(end);
        attr.mtime = commit.mtime;
        let slice = commit.slice;
        out.push(Mutation::AppendSlice {
            ino,
            index: commit.index,
            slice,
        });
        if !slice.id.is_hole() {
            out.push(Mutation::NewSlice {
                id: slice.id,
                size: slice.size,
            });
        }
    }
    book_growth(reads, ctx, ino, &attr, length, &mut out)?;
    attr.length = length;
    attr.ctime = ctx.now;
    out.push(Mutation::SetNode {
        ino,
        attr: attr.clone(),
    });
    Planned::with(attr, out)
}

/// The answer of a commit of several files.
pub(crate) type Committed = Vec<(Ino, Result<Attr>)>;

/// Appends the slices of several files; an inode that is gone answers for itself.
pub(crate) fn commit_all(reads: &dyn Reads, ctx: &Ctx, commits: &[SliceCommit]) -> Plan<Committed> {
    let files = by_file(commits);
    reads.prefetch(
        &files
            .iter()
            .map(|(ino, _)| Want::Node(*ino))
            .collect::<Vec<_>>(),
    )?;
    let mut answer = Vec::new();
    let mut mutations = Vec::new();
    for (ino, commits) in files {
        match commit(reads, ctx, ino, &commits) {
            Ok(planned) => {
                mutations.extend(planned.mutations);
                answer.push((ino, Ok(planned.answer)));
            }
            Err(Stop::Answer(error)) => answer.push((ino, Err(error))),
            Err(Stop::Missing) => return Err(Stop::Missing),
        }
    }
    Planned::with(answer, mutations)
}

/// The commits in parts of about `most`, each file whole in one of them.
pub(crate) fn parts(
    commits: &[SliceCommit],
    most: usize,
) -> impl Iterator<Item = Arc<[SliceCommit]>> {
    let mut parts: Vec<Vec<SliceCommit>> = vec![Vec::new()];
    for (_, file) in by_file(commits) {
        match parts.last_mut() {
            Some(part) if part.is_empty() || part.len() + file.len() <= most => part.extend(file),
            _ => parts.push(file),
        }
    }
    parts.into_iter().map(Arc::from)
}

/// The commits of each file, files in the order of their first appearance.
fn by_file(commits: &[SliceCommit]) -> Vec<(Ino, Vec<SliceCommit>)> {
    let mut order = BTreeMap::new();
    let mut files: Vec<(Ino, Vec<SliceCommit>)> = Vec::new();
    for commit in commits {
        let at = *order.entry(commit.ino).or_insert_with(|| {
            files.push((commit.ino, Vec::new()));
            files.len() - 1
        });
        files[at].1.push(*commit);
    }
    files
}

/// fallocate(2).
pub(crate) fn fallocate(
    reads: &dyn Reads,
    ctx: &Ctx,
    ino: Ino,
    how: Fallocate,
    offset: u64,
    len: u64,
) -> Plan<Attr> {
    let mut attr = existing(reads, ino)?;
    check_writable(&attr)?;
    let grows = matches!(how, Fallocate::Grow | Fallocate::ZeroRange);
    let end = offset
        .checked_add(len)
        .filter(|&end| end <= MAX_LENGTH)
        .ok_or(Error::TooLarge)?;
    if len == 0 {
        return Err(Error::Invalid.into());
    }
    if attr.flags & flags::APPEND != 0 && !matches!(how, Fallocate::Grow | Fallocate::KeepSize) {
        return Err(Error::NotPermitted.into());
    }
    let mut out = Vec::new();
    let old = attr.length;
    if grows && end > old {
        book_growth(reads, ctx, ino, &attr, end, &mut out)?;
        attr.length = end;
    }
    let zeroes = !matches!(how, Fallocate::Grow | Fallocate::KeepSize);
    if zeroes && offset < old {
        for span in chunk_spans(offset, end.min(old) - offset) {
            out.push(Mutation::AppendSlice {
                ino,
                index: span.index,
                slice: Slice::hole(span.pos, span.len),
            });
        }
    }
    if attr.length == old && out.is_empty() {
        return Planned::unchanged(attr);
    }
    (attr.mtime, attr.ctime) = (ctx.now, ctx.now);
    out.push(Mutation::SetNode {
        ino,
        attr: attr.clone(),
    });
    Planned::with(attr, out)
}

/// One end of a copy.
#[derive(Clone, Copy)]
pub(crate) struct At {
    /// The file.
    pub(crate) ino: Ino,
    /// The first byte.
    pub(crate) offset: u64,
}

/// Copies up to `len` bytes by reference.
pub(crate) fn copy_range(
    reads: &dyn Reads,
    ctx: &Ctx,
    from: At,
    to: At,
    len: u64,
) -> Plan<(u64, Attr)> {
    reads.prefetch(&[Want::Node(from.ino), Want::Node(to.ino)])?;
    let source = existing(reads, from.ino)?;
    let mut attr = existing(reads, to.ino)?;
    if source.kind != FileType::File || attr.kind != FileType::File {
        return Err(Error::Invalid.into());
    }
    check_writable(&attr)?;
    if attr.flags & flags::APPEND != 0 {
        return Err(Error::NotPermitted.into());
    }
    let len = len.min(source.length.saturating_sub(from.offset));
    if len == 0 {
        return Planned::unchanged((0, attr));
    }
    let overlaps = from.offset < to.offset.saturating_add(len) && to.offset < from.offset + len;
    if from.ino == to.ino && overlaps {
        return Err(Error::Invalid.into());
    }
    let end = to
        .offset
        .checked_add(len)
        .filter(|&end| end <= MAX_LENGTH)
        .ok_or(Error::TooLarge)?;
    let mut out = Vec::new();
    book_growth(reads, ctx, to.ino, &attr, end.max(attr.length), &mut out)?;
    copy_slices(reads, from, to, len, &mut out)?;
    attr.length = attr.length.max(end);
    (attr.mtime, attr.ctime) = (ctx.now, ctx.now);
    out.push(Mutation::SetNode {
        ino: to.ino,
        attr: attr.clone(),
    });
    Planned::with((len, attr), out)
}

fn copy_slices(reads: &dyn Reads, from: At, to: At, len: u64, out: &mut Vec<Mutation>) -> Read<()> {
    let spans: Vec<_> = chunk_spans(from.offset, len).collect();
    let wants: Vec<_> = spans
        .iter()
        .map(|span| Want::Chunk(from.ino, span.index))
        .collect();
    reads.prefetch(&wants)?;
    for span in spans {
        let slices = reads.chunk(from.ino, span.index)?;
        for segment in overlay(&slices, span.pos, span.len) {
            let start = u64::from(span.index) * CHUNK_SIZE + u64::from(segment.pos);
            append_segment(to.ino, start - from.offset + to.offset, segment, out);
        }
    }
    Ok(())
}

/// Lets `at` of a file read as `segment`, which may lie over a chunk's border there.
fn append_segment(ino: Ino, at: u64, segment: Segment, out: &mut Vec<Mutation>) {
    let mut off = segment.off;
    for span in chunk_spans(at, u64::from(segment.len)) {
        let Segment { id, size, .. } = segment;
        let slice = if id.is_hole() {
            Slice::hole(span.pos, span.len)
        } else {
            out.push(Mutation::RefSlice { id, size, delta: 1 });
            Slice {
                pos: span.pos,
                id,
                size,
                off,
                len: span.len,
            }
        };
        out.push(Mutation::AppendSlice {
            ino,
            index: span.index,
            slice,
        });
        off += span.len;
    }
}
