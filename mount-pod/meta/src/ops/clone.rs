//! Copying an inode by reference.

use carafe_types::{Attr, Error, FileType, Ino, flags};

use crate::{
    Cloning,
    ops::{
        Ctx, Mutation, Plan, Planned, Read, Reads, Share, Want, book, book_volume, existing,
        existing_dir, touch_dir,
    },
};

/// What is copied, as it was found.
pub(crate) struct Source {
    /// The inode.
    pub(crate) ino: Ino,
    /// Its attributes.
    pub(crate) attr: Attr,
    /// Its chunks.
    pub(crate) chunks: Vec<u32>,
}

/// Makes `name` of a directory a copy of one inode, without what a directory holds.
/// `None` if the source is not what was found any more.
pub(crate) fn clone_node(
    reads: &dyn Reads,
    ctx: &Ctx,
    source: &Source,
    (parent, name): (Ino, &[u8]),
    ino: Ino,
    how: Cloning,
) -> Plan<Option<Ino>> {
    let mut wants = vec![Want::Node(source.ino)];
    wants.extend(source.chunks.iter().map(|&at| Want::Chunk(source.ino, at)));
    reads.prefetch(&wants)?;
    if existing(reads, source.ino)? != source.attr {
        return Planned::unchanged(None);
    }
    existing_dir(reads, parent)?;
    if reads.entry(parent, name)?.is_some() {
        return Err(Error::Exists.into());
    }
    let attr = new_attr(ctx, parent, &source.attr, how);
    let is_dir = attr.is_dir();
    let share = Share::of(&attr);
    let mut out = vec![
        Mutation::NewNode { ino, attr },
        Mutation::SetEntry {
            parent,
            name: name.to_vec(),
            kind: source.attr.kind,
            ino,
        },
    ];
    if is_dir {
        out.push(Mutation::InitDirStat { dir: ino });
    }
    copy_extras(reads, source, ino, &mut out)?;
    copy_chunks(reads, source, ino, &mut out)?;
    touch_dir(ctx, parent, i32::from(is_dir), &mut out);
    book_volume(ctx, share.space, share.inodes, &mut out);
    book(reads, ctx, parent, share, &mut out)?;
    Planned::with(Some(ino), out)
}

/// Flags that forbid changes are not copied: the clone could be neither moved to its
/// place nor removed.
fn new_attr(ctx: &Ctx, parent: Ino, from: &Attr, how: Cloning) -> Attr {
    let mut attr = Attr {
        parent,
        nlink: 1 + u32::from(from.is_dir()),
        flags: from.flags & flags::SKIP_TRASH,
        ctime: ctx.now,
        ..from.clone()
    };
    if !how.preserve {
        (attr.uid, attr.gid) = (ctx.uid, ctx.gid);
        attr.mode &= !how.umask;
        (attr.atime, attr.mtime) = (ctx.now, ctx.now);
    }
    attr
}

fn copy_extras(reads: &dyn Reads, source: &Source, ino: Ino, out: &mut Vec<Mutation>) -> Read<()> {
    if source.attr.kind == FileType::Symlink
        && let Some(target) = reads.symlink(source.ino)?
    {
        out.push(Mutation::SetSymlink { ino, target });
    }
    for name in reads.xattr_names(source.ino)? {
        if let Some(value) = reads.xattr(source.ino, &name)? {
            out.push(Mutation::SetXattr { ino, name, value });
        }
    }
    Ok(())
}

fn copy_chunks(reads: &dyn Reads, source: &Source, ino: Ino, out: &mut Vec<Mutation>) -> Read<()> {
    for &index in &source.chunks {
        for slice in reads.chunk(source.ino, index)? {
            if !slice.id.is_hole() {
                out.push(Mutation::RefSlice {
                    id: slice.id,
                    size: slice.size,
                    delta: 1,
                });
            }
            out.push(Mutation::AppendSlice { ino, index, slice });
        }
    }
    Ok(())
}
