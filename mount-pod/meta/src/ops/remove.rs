//! Removing entries: into the trash, into a session's care, or for good.

use carafe_types::{Attr, Error, FileType, Ino, flags};

use crate::ops::{
    Ctx, Entry, Mutation, Plan, Planned, Read, Reads, Share, Want, book, book_volume, changeable,
    check_sticky, inode_space, reducible_dir, space_of, touch_dir,
};

/// Where an entry is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The directory.
    pub(super) parent: Ino,
    /// The name.
    pub(super) name: &'a [u8],
    /// What the name stands for.
    pub(super) entry: Entry,
}

/// The name of an entry in the trash: where it was, what it was.
pub(super) fn trash_name(place: Place<'_>) -> Vec<u8> {
    let mut name = format!("{}-{}-", place.parent, place.entry.ino).into_bytes();
    name.extend_from_slice(place.name);
    name.truncate(255);
    name
}

/// Removes the name of anything but a directory. Answers whether a session's open
/// handles keep the inode.
pub(crate) fn unlink(reads: &dyn Reads, ctx: &Ctx, parent: Ino, name: &[u8]) -> Plan<()> {
    reads.prefetch(&[Want::Node(parent), Want::EntryNode(parent, name.to_vec())])?;
    let dir = reducible_dir(reads, parent)?;
    let entry = reads.entry(parent, name)?.ok_or(Error::NotFound)?;
    if entry.kind == FileType::Directory {
        return Err(Error::IsDirectory.into());
    }
    let place = Place {
        parent,
        name,
        entry,
    };
    let mut out = vec![Mutation::DropEntry {
        parent,
        name: name.to_vec(),
    }];
    if let Some(attr) = reads.node(entry.ino)? {
        check_sticky(ctx, &dir, &attr)?;
        changeable(&attr)?;
        drop_file(reads, ctx, place, attr, &mut out)?;
    }
    touch_dir(ctx, parent, 0, &mut out);
    Planned::with((), out)
}

/// What becomes of a file (or link, pipe …) that loses the name at `place`.
pub(super) fn drop_file(
    reads: &dyn Reads,
    ctx: &Ctx,
    place: Place<'_>,
    mut attr: Attr,
    out: &mut Vec<Mutation>,
) -> Read<()> {
    let ino = place.entry.ino;
    book_loss(reads, ctx, place.parent, &attr, out)?;
    attr.ctime = ctx.now;
    if let Some(trash) = trash_for(reads, ctx, place, &attr)? {
        to_trash(place, attr, trash, out);
        return Ok(());
    }
    attr.nlink = attr.nlink.saturating_sub(1);
    if attr.nlink > 0 {
        if attr.parent.0 == 0 {
            out.push(Mutation::CountParent {
                ino,
                parent: place.parent,
                delta: -1,
            });
        }
        out.push(Mutation::SetNode { ino, attr });
        return Ok(());
    }
    last_name_gone(ctx, ino, attr, out);
    Ok(())
}

/// An inode without names: open handles keep a file, everything else goes.
fn last_name_gone(ctx: &Ctx, ino: Ino, attr: Attr, out: &mut Vec<Mutation>) {
    out.push(Mutation::DropXattrs { ino });
    if attr.parent.0 == 0 {
        out.push(Mutation::DropParents { ino });
    }
    if attr.kind == FileType::File && ctx.is_open(ino) {
        out.push(Mutation::Sustain {
            session: ctx.session,
            ino,
        });
        out.push(Mutation::SetNode { ino, attr });
        return;
    }
    if attr.kind == FileType::Symlink {
        out.push(Mutation::DropSymlink { ino });
    }
    if attr.kind == FileType::File {
        out.push(Mutation::AddDeleted {
            ino,
            length: attr.length,
            time: ctx.now,
        });
    }
    out.push(Mutation::DropNode { ino });
    book_volume(ctx, -inode_space(&attr), -1, out);
}

/// The trash's directory for an entry, unless it is in the trash already, is marked
/// to skip it, or stands there under the same name (two links made and removed).
fn trash_for(reads: &dyn Reads, ctx: &Ctx, place: Place<'_>, attr: &Attr) -> Read<Option<Ino>> {
    let Some(trash) = ctx
        .trash
        .filter(|_| !place.parent.is_trash() && attr.flags & flags::SKIP_TRASH == 0)
    else {
        return Ok(None);
    };
    let taken =
        attr.nlink > 1 && !attr.is_dir() && reads.entry(trash, &trash_name(place))?.is_some();
    Ok((!taken).then_some(trash))
}

fn to_trash(place: Place<'_>, mut attr: Attr, trash: Ino, out: &mut Vec<Mutation>) {
    let Entry { kind, ino } = place.entry;
    if attr.is_dir() || attr.parent.0 != 0 {
        attr.parent = trash;
    } else {
        out.push(Mutation::CountParent {
            ino,
            parent: trash,
            delta: 1,
        });
        out.push(Mutation::CountParent {
            ino,
            parent: place.parent,
            delta: -1,
        });
    }
    out.push(Mutation::SetNode { ino, attr });
    out.push(Mutation::SetEntry {
        parent: trash,
        name: trash_name(place),
        kind,
        ino,
    });
}

fn book_loss(
    reads: &dyn Reads,
    ctx: &Ctx,
    parent: Ino,
    attr: &Attr,
    out: &mut Vec<Mutation>,
) -> Read<()> {
    if parent.is_trash() {
        Ok(())
    } else {
        book(reads, ctx, parent, Share::of(attr).gone(), out)
    }
}

/// Removes an empty directory.
pub(crate) fn rmdir(reads: &dyn Reads, ctx: &Ctx, parent: Ino, name: &[u8]) -> Plan<()> {
    reads.prefetch(&[Want::Node(parent), Want::EntryDir(parent, name.to_vec())])?;
    let dir = reducible_dir(reads, parent)?;
    let entry = reads.entry(parent, name)?.ok_or(Error::NotFound)?;
    if entry.kind != FileType::Directory {
        return Err(Error::NotDirectory.into());
    }
    if reads.has_entries(entry.ino)? {
        return Err(Error::NotEmpty.into());
    }
    let mut out = vec![Mutation::DropEntry {
        parent,
        name: name.to_vec(),
    }];
    if let Some(attr) = reads.node(entry.ino)? {
        check_sticky(ctx, &dir, &attr)?;
        drop_dir(
            reads,
            ctx,
            Place {
                parent,
                name,
                entry,
            },
            attr,
            &mut out,
        )?;
    }
    touch_dir(ctx, parent, -1, &mut out);
    Planned::with((), out)
}

/// What becomes of an empty directory that loses its name.
pub(super) fn drop_dir(
    reads: &dyn Reads,
    ctx: &Ctx,
    place: Place<'_>,
    mut attr: Attr,
    out: &mut Vec<Mutation>,
) -> Read<()> {
    let ino = place.entry.ino;
    book_loss(reads, ctx, place.parent, &attr, out)?;
    out.push(Mutation::DropDirStat { dir: ino });
    out.push(Mutation::DropQuota { dir: ino });
    attr.ctime = ctx.now;
    if let Some(trash) = trash_for(reads, ctx, place, &attr)? {
        to_trash(place, attr, trash, out);
    } else {
        out.push(Mutation::DropNode { ino });
        out.push(Mutation::DropXattrs { ino });
        book_volume(ctx, -space_of(0), -1, out);
    }
    Ok(())
}
