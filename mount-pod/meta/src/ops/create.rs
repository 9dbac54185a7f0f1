//! Making entries: files, directories, links and all the others.

use carafe_types::{Attr, Error, FileType, Ino};

use crate::{
    NewNode,
    ops::{
        Ctx, Mutation, Plan, Planned, Read, Reads, Share, Want, acl, attrs, book, book_volume,
        changeable, existing, space_of, touch_dir, writable_dir,
    },
};

/// The trash's name at the root: it has no entry there.
pub(crate) const TRASH_NAME: &[u8] = b".trash";

/// Makes `name` as inode `ino`.
pub(crate) fn create(
    reads: &dyn Reads,
    ctx: &Ctx,
    parent: Ino,
    name: &[u8],
    node: &NewNode,
    ino: Ino,
) -> Plan<(Ino, Attr)> {
    reads.prefetch(&[Want::Node(parent), Want::EntryNode(parent, name.to_vec())])?;
    let dir = writable_dir(reads, parent)?;
    if reads.entry(parent, name)?.is_some() {
        return Err(Error::Exists.into());
    }
    let mut out = Vec::new();
    let attr = new_entry(reads, ctx, (parent, &dir), name, node, ino, &mut out)?;
    Planned::with((ino, attr), out)
}

/// Opens `name`, or makes it as inode `ino`. The flag says whether it was made.
#[expect(
    clippy::too_many_arguments,
    reason = "one argument for each of open(2)'s choices"
)]
pub(crate) fn create_open(
    reads: &dyn Reads,
    ctx: &Ctx,
    parent: Ino,
    name: &[u8],
    node: &NewNode,
    ino: Ino,
    exclusive: bool,
    truncate: bool,
) -> Plan<(Ino, Attr, bool)> {
    reads.prefetch(&[Want::Node(parent), Want::EntryNode(parent, name.to_vec())])?;
    let Some(entry) = reads.entry(parent, name)? else {
        let made = create(reads, ctx, parent, name, node, ino)?;
        return Planned::with((made.answer.0, made.answer.1, true), made.mutations);
    };
    if exclusive {
        return Err(Error::Exists.into());
    }
    let attr = existing(reads, entry.ino)?;
    if attr.is_dir() {
        return Err(Error::IsDirectory.into());
    }
    if truncate && attr.kind == FileType::File {
        let cut = attrs::truncate(reads, ctx, entry.ino, 0)?;
        return Planned::with((entry.ino, cut.answer, false), cut.mutations);
    }
    Planned::unchanged((entry.ino, attr, false))
}

/// The mutations that make an entry in a directory that was checked.
pub(super) fn new_entry(
    reads: &dyn Reads,
    ctx: &Ctx,
    (parent, dir): (Ino, &Attr),
    name: &[u8],
    node: &NewNode,
    ino: Ino,
    out: &mut Vec<Mutation>,
) -> Read<Attr> {
    let attr = new_attr(ctx, parent, dir, node)?;
    let kind = attr.kind;
    out.push(Mutation::NewNode {
        ino,
        attr: attr.clone(),
    });
    out.push(Mutation::SetEntry {
        parent,
        name: name.to_vec(),
        kind,
        ino,
    });
    if kind == FileType::Symlink {
        out.push(Mutation::SetSymlink {
            ino,
            target: node.target.clone(),
        });
    }
    if kind == FileType::Directory {
        out.push(Mutation::InitDirStat { dir: ino });
    }
    touch_dir(ctx, parent, i32::from(kind == FileType::Directory), out);
    let share = Share {
        length: 0,
        space: space_of(0),
        inodes: 1,
    };
    book_volume(ctx, share.space, share.inodes, out);
    book(reads, ctx, parent, share, out)?;
    Ok(attr)
}

fn new_attr(ctx: &Ctx, parent: Ino, dir: &Attr, node: &NewNode) -> Read<Attr> {
    let is_dir = node.kind == FileType::Directory;
    let mut attr = Attr {
        kind: node.kind,
        mode: node.mode & 0o7777,
        uid: ctx.uid,
        gid: ctx.gid,
        atime: ctx.now,
        mtime: ctx.now,
        ctime: ctx.now,
        nlink: 1 + u32::from(is_dir),
        length: if is_dir {
            4096
        } else {
            node.target.len() as u64
        },
        rdev: if matches!(node.kind, FileType::BlockDevice | FileType::CharDevice) {
            node.rdev
        } else {
            0
        },
        parent,
        ..Attr::default()
    };
    if !acl::inherit(ctx, dir, &mut attr)? {
        attr.mode &= !node.umask;
    }
    inherit_group(ctx, dir, &mut attr);
    Ok(attr)
}

/// A directory with sgid passes its group on, and to directories the bit itself;
/// a program loses the bit unless its maker is in the group.
fn inherit_group(ctx: &Ctx, dir: &Attr, attr: &mut Attr) {
    if dir.mode & 0o2000 == 0 {
        return;
    }
    attr.gid = dir.gid;
    if attr.is_dir() {
        attr.mode |= 0o2000;
    } else if attr.mode & 0o2010 == 0o2010 && ctx.uid != 0 && !ctx.in_group(dir.gid) {
        attr.mode &= !0o2000;
    }
}

/// Another name for a file.
pub(crate) fn link(reads: &dyn Reads, ctx: &Ctx, ino: Ino, parent: Ino, name: &[u8]) -> Plan<Attr> {
    reads.prefetch(&[
        Want::Node(parent),
        Want::Node(ino),
        Want::EntryNode(parent, name.to_vec()),
    ])?;
    writable_dir(reads, parent)?;
    let mut attr = existing(reads, ino)?;
    if attr.is_dir() {
        return Err(Error::NotPermitted.into());
    }
    changeable(&attr)?;
    if reads.entry(parent, name)?.is_some() {
        return Err(Error::Exists.into());
    }
    // A file in the trash, or one that only open handles keep, has no name to add to.
    if attr.nlink == 0 {
        return Err(Error::NotFound.into());
    }
    let mut out = vec![Mutation::SetEntry {
        parent,
        name: name.to_vec(),
        kind: attr.kind,
        ino,
    }];
    if attr.parent.0 != 0 {
        out.push(Mutation::CountParent {
            ino,
            parent: attr.parent,
            delta: 1,
        });
    }
    out.push(Mutation::CountParent {
        ino,
        parent,
        delta: 1,
    });
    attr.parent = Ino(0);
    attr.nlink = attr.nlink.checked_add(1).ok_or(Error::TooManyLinks)?;
    attr.ctime = ctx.now;
    out.push(Mutation::SetNode {
        ino,
        attr: attr.clone(),
    });
    touch_dir(ctx, parent, 0, &mut out);
    book(reads, ctx, parent, Share::of(&attr), &mut out)?;
    Planned::with(attr, out)
}
