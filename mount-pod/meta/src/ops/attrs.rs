//! Changing an inode's attributes, its length among them.

use carafe_types::{Attr, CHUNK_SIZE, Error, FileType, Ino, Slice, flags};

use crate::{
    SetAttr,
    ops::{Ctx, Mutation, Plan, Planned, Read, Reads, acl, book_growth, existing},
};

/// The longest file: a chunk's index has 32 bits.
pub(super) const MAX_LENGTH: u64 = (u32::MAX as u64) * CHUNK_SIZE;

/// Changes what `set` names.
pub(crate) fn setattr(reads: &dyn Reads, ctx: &Ctx, ino: Ino, set: &SetAttr) -> Plan<Attr> {
    let old = existing(reads, ino)?;
    if old.parent > Ino::TRASH && ctx.uid != 0 || old.flags & flags::IMMUTABLE != 0 {
        return Err(Error::NotPermitted.into());
    }
    let mut out = Vec::new();
    let mut attr = old.clone();
    if let Some(size) = set.size {
        resize(reads, ctx, ino, &mut attr, size, &mut out)?;
    }
    set_owner(ctx, set, &mut attr);
    set_mode(ctx, set, &mut attr);
    if set.mode.is_some() {
        acl::follow_mode(ctx, &mut attr)?;
    }
    set_times(ctx, set, &mut attr);
    if attr != old {
        attr.ctime = set.ctime.unwrap_or(ctx.now);
    }
    if set.access {
        attr.atime = attr.atime.max(ctx.now);
    }
    if attr == old {
        return Planned::unchanged(attr);
    }
    out.push(Mutation::SetNode {
        ino,
        attr: attr.clone(),
    });
    Planned::with(attr, out)
}

/// Cuts or grows a file.
pub(crate) fn truncate(reads: &dyn Reads, ctx: &Ctx, ino: Ino, size: u64) -> Plan<Attr> {
    setattr(
        reads,
        ctx,
        ino,
        &SetAttr {
            size: Some(size),
            mtime_now: true,
            kill_suid: ctx.uid != 0,
            ..SetAttr::default()
        },
    )
}

/// Clears suid, and sgid of a file that its group may execute.
fn kill_suid(attr: &mut Attr) {
    attr.mode &= if attr.mode & 0o010 != 0 {
        !0o6000
    } else {
        !0o4000
    };
}

fn set_owner(ctx: &Ctx, set: &SetAttr, attr: &mut Attr) {
    let changes = set.uid.is_some() || set.gid.is_some();
    if set.kill_suid || (changes && !attr.is_dir() && attr.mode & 0o6000 != 0) {
        if changes && ctx.uid != 0 {
            attr.mode &= !0o6000;
        } else {
            kill_suid(attr);
        }
    }
    attr.uid = set.uid.unwrap_or(attr.uid);
    attr.gid = set.gid.unwrap_or(attr.gid);
}

fn set_mode(ctx: &Ctx, set: &SetAttr, attr: &mut Attr) {
    let Some(mode) = set.mode else { return };
    attr.mode = mode & 0o7777;
    // Who is not in the file's group cannot give the group's identity away.
    if ctx.uid != 0 && !ctx.checked && attr.mode & 0o2000 != 0 && !ctx.in_group(attr.gid) {
        attr.mode &= !0o2000;
    }
}

fn set_times(ctx: &Ctx, set: &SetAttr, attr: &mut Attr) {
    attr.atime = if set.atime_now {
        ctx.now
    } else {
        set.atime.unwrap_or(attr.atime)
    };
    attr.mtime = if set.mtime_now {
        ctx.now
    } else {
        set.mtime.unwrap_or(attr.mtime)
    };
    attr.ctime = set.ctime.unwrap_or(attr.ctime);
}

fn resize(
    reads: &dyn Reads,
    ctx: &Ctx,
    ino: Ino,
    attr: &mut Attr,
    size: u64,
    out: &mut Vec<Mutation>,
) -> Read<()> {
    check_writable(attr)?;
    if attr.flags & flags::APPEND != 0 {
        return Err(Error::NotPermitted.into());
    }
    if size > MAX_LENGTH {
        return Err(Error::TooLarge.into());
    }
    if size == attr.length {
        return Ok(());
    }
    book_growth(reads, ctx, ino, attr, size, out)?;
    zero_between(ino, attr.length.min(size), attr.length.max(size), out);
    attr.length = size;
    attr.mtime = ctx.now;
    Ok(())
}

/// Only a file that is not in the trash has data to change.
pub(super) fn check_writable(attr: &Attr) -> Read<()> {
    match attr.kind {
        FileType::File => {}
        FileType::Directory => return Err(Error::IsDirectory.into()),
        _ => return Err(Error::Invalid.into()),
    }
    if attr.flags & flags::IMMUTABLE != 0 || attr.parent > Ino::TRASH {
        return Err(Error::NotPermitted.into());
    }
    Ok(())
}

/// Covers what a change of length cut off or added with holes, as the peer does:
/// behind a cut old bytes must not come back when the file grows again.
fn zero_between(ino: Ino, left: u64, right: u64, out: &mut Vec<Mutation>) {
    let (first, last) = (left / CHUNK_SIZE, right / CHUNK_SIZE);
    let head = if last > first {
        CHUNK_SIZE - left % CHUNK_SIZE
    } else {
        right - left
    };
    let hole = Slice::hole((left % CHUNK_SIZE) as u32, head as u32);
    out.push(Mutation::AppendSlice {
        ino,
        index: first as u32,
        slice: hole,
    });
    if last > first + 1 {
        out.push(Mutation::ZeroChunks {
            ino,
            after: first as u32,
            before: last as u32,
        });
    }
    if last > first && !right.is_multiple_of(CHUNK_SIZE) {
        let slice = Slice::hole(0, (right % CHUNK_SIZE) as u32);
        out.push(Mutation::AppendSlice {
            ino,
            index: last as u32,
            slice,
        });
    }
}
