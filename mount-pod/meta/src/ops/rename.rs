//! Moving entries.

use carafe_types::{Attr, Error, Ino};

use crate::{
    RenameFlags,
    ops::{
        Ctx, Entry, Mutation, Plan, Planned, Read, Reads, Share, Want, book_stat, changeable,
        check_sticky, existing, existing_dir, quota_dirs, reducible_dir,
        remove::{Place, drop_dir, drop_file},
        touch_dir, writable_dir,
    },
};

/// One end of a rename.
struct End {
    dir: Attr,
    entry: Entry,
    attr: Attr,
}

/// Which entry moves where.
#[derive(Clone, Copy)]
pub(crate) struct Move<'a> {
    /// The directory that the entry leaves.
    pub(crate) from: Ino,
    /// Its name there.
    pub(crate) name: &'a [u8],
    /// The directory that it comes to.
    pub(crate) to: Ino,
    /// Its name there.
    pub(crate) new_name: &'a [u8],
    /// What a moved directory's whole tree uses (bytes, inodes): only needed where
    /// the two places have different quotas.
    pub(crate) tree: Option<(i64, i64)>,
    /// Whether it may come into a directory that is itself in the trash.
    pub(crate) into_trash: bool,
}

/// Moves an entry.
pub(crate) fn rename(
    reads: &dyn Reads,
    ctx: &Ctx,
    mv: Move<'_>,
    flags: RenameFlags,
) -> Plan<(Ino, Attr)> {
    reads.prefetch(&[
        Want::Node(mv.from),
        Want::Node(mv.to),
        Want::EntryNode(mv.from, mv.name.to_vec()),
        Want::EntryDir(mv.to, mv.new_name.to_vec()),
    ])?;
    let source = source(reads, ctx, mv)?;
    let to_dir = if mv.into_trash {
        existing_dir(reads, mv.to)?
    } else {
        writable_dir(reads, mv.to)?
    };
    if mv.from == mv.to && mv.name == mv.new_name {
        return if flags == RenameFlags::NoReplace {
            Err(Error::Exists.into())
        } else {
            Planned::unchanged((source.entry.ino, source.attr))
        };
    }
    check_no_loop(reads, &source, mv.to)?;
    match (reads.entry(mv.to, mv.new_name)?, flags) {
        (Some(_), RenameFlags::NoReplace) => Err(Error::Exists.into()),
        (None, RenameFlags::Exchange) => Err(Error::NotFound.into()),
        (None, _) => move_to_free(reads, ctx, mv, source, Vec::new()),
        (Some(entry), _) if entry.ino == source.entry.ino => {
            Planned::unchanged((entry.ino, source.attr))
        }
        (Some(entry), _) => {
            let attr = existing(reads, entry.ino)?;
            changeable(&attr)?;
            check_sticky(ctx, &to_dir, &attr)?;
            let target = End {
                dir: to_dir,
                entry,
                attr,
            };
            if flags == RenameFlags::Exchange {
                exchange(reads, ctx, mv, source, target)
            } else {
                replace(reads, ctx, mv, source, target)
            }
        }
    }
}

fn source(reads: &dyn Reads, ctx: &Ctx, mv: Move<'_>) -> Read<End> {
    let dir = reducible_dir(reads, mv.from)?;
    let entry = reads.entry(mv.from, mv.name)?.ok_or(Error::NotFound)?;
    let attr = existing(reads, entry.ino)?;
    changeable(&attr)?;
    check_sticky(ctx, &dir, &attr)?;
    Ok(End { dir, entry, attr })
}

/// A directory does not move below itself. The kernel checks it for its own
/// caller; another client may have moved the target meanwhile.
fn check_no_loop(reads: &dyn Reads, source: &End, to: Ino) -> Read<()> {
    if !source.attr.is_dir() || source.attr.parent == to {
        return if source.entry.ino == to {
            Err(Error::Invalid.into())
        } else {
            Ok(())
        };
    }
    let mut at = to;
    for _ in 0..4096 {
        if at == source.entry.ino {
            return Err(Error::Invalid.into());
        }
        if at == Ino::ROOT || at.0 == 0 || at.is_trash() {
            break;
        }
        at = reads.parent(at)?.unwrap_or_default();
    }
    Ok(())
}

/// Replaces what has the new name.
fn replace(
    reads: &dyn Reads,
    ctx: &Ctx,
    mv: Move<'_>,
    source: End,
    target: End,
) -> Plan<(Ino, Attr)> {
    let place = Place {
        parent: mv.to,
        name: mv.new_name,
        entry: target.entry,
    };
    let mut out = vec![Mutation::DropEntry {
        parent: mv.to,
        name: mv.new_name.to_vec(),
    }];
    match (source.attr.is_dir(), target.attr.is_dir()) {
        (true, false) => return Err(Error::NotDirectory.into()),
        (false, true) => return Err(Error::IsDirectory.into()),
        (true, true) => {
            if reads.has_entries(target.entry.ino)? {
                return Err(Error::NotEmpty.into());
            }
            drop_dir(reads, ctx, place, target.attr, &mut out)?;
            touch_dir(ctx, mv.to, -1, &mut out);
        }
        (false, false) => drop_file(reads, ctx, place, target.attr, &mut out)?,
    }
    move_to_free(reads, ctx, mv, source, out)
}

/// Moves to a name that is free (by now).
fn move_to_free(
    reads: &dyn Reads,
    ctx: &Ctx,
    mv: Move<'_>,
    source: End,
    before: Vec<Mutation>,
) -> Plan<(Ino, Attr)> {
    let End {
        entry: Entry { kind, ino },
        mut attr,
        ..
    } = source;
    let mut out = before;
    out.push(Mutation::DropEntry {
        parent: mv.from,
        name: mv.name.to_vec(),
    });
    out.push(Mutation::SetEntry {
        parent: mv.to,
        name: mv.new_name.to_vec(),
        kind,
        ino,
    });
    let nlink = i32::from(attr.is_dir() && mv.from != mv.to);
    if mv.from != mv.to {
        change_parent(ino, &mut attr, mv.from, mv.to, &mut out);
        let tree = mv.tree;
        book_move(reads, ctx, (mv.from, mv.to), &attr, tree, &mut out)?;
        touch_dir(ctx, mv.from, -nlink, &mut out);
    }
    touch_dir(ctx, mv.to, nlink, &mut out);
    attr.ctime = ctx.now;
    out.push(Mutation::SetNode {
        ino,
        attr: attr.clone(),
    });
    Planned::with((ino, attr), out)
}

fn change_parent(ino: Ino, attr: &mut Attr, from: Ino, to: Ino, out: &mut Vec<Mutation>) {
    if attr.is_dir() || attr.parent.0 != 0 {
        attr.parent = to;
    } else {
        out.push(Mutation::CountParent {
            ino,
            parent: to,
            delta: 1,
        });
        out.push(Mutation::CountParent {
            ino,
            parent: from,
            delta: -1,
        });
    }
}

/// Books a move between directories: their statistics, and the quotas that only
/// one of the two places has.
fn book_move(
    reads: &dyn Reads,
    ctx: &Ctx,
    (from, to): (Ino, Ino),
    attr: &Attr,
    tree: Option<(i64, i64)>,
    out: &mut Vec<Mutation>,
) -> Read<()> {
    let share = Share::of(attr);
    book_stat(ctx, from, share.gone(), out);
    book_stat(ctx, to, share, out);
    let (space, inodes) = tree
        .filter(|_| attr.is_dir())
        .unwrap_or((share.space, share.inodes));
    let (left, entered) = (quota_dirs(reads, ctx, from)?, quota_dirs(reads, ctx, to)?);
    for &dir in left.iter().filter(|dir| !entered.contains(dir)) {
        out.push(Mutation::UseQuota {
            dir,
            space: -space,
            inodes: -inodes,
        });
    }
    for &dir in entered.iter().filter(|dir| !left.contains(dir)) {
        out.push(Mutation::UseQuota { dir, space, inodes });
    }
    Ok(())
}

/// Swaps two entries.
fn exchange(
    reads: &dyn Reads,
    ctx: &Ctx,
    mv: Move<'_>,
    source: End,
    target: End,
) -> Plan<(Ino, Attr)> {
    let (mut one, mut two) = (source.attr, target.attr);
    let mut out = vec![
        Mutation::SetEntry {
            parent: mv.to,
            name: mv.new_name.to_vec(),
            kind: one.kind,
            ino: source.entry.ino,
        },
        Mutation::SetEntry {
            parent: mv.from,
            name: mv.name.to_vec(),
            kind: two.kind,
            ino: target.entry.ino,
        },
    ];
    if mv.from == mv.to {
        touch_dir(ctx, mv.to, 0, &mut out);
    } else {
        if two.is_dir() {
            check_no_loop(
                reads,
                &End {
                    dir: target.dir,
                    entry: target.entry,
                    attr: two.clone(),
                },
                mv.from,
            )?;
        }
        // A tree's own usage is not known here: only files cross a quota's border.
        let crosses = quota_dirs(reads, ctx, mv.from)? != quota_dirs(reads, ctx, mv.to)?;
        if crosses && (one.is_dir() || two.is_dir()) {
            return Err(Error::CrossDevice.into());
        }
        book_move(reads, ctx, (mv.from, mv.to), &one, None, &mut out)?;
        book_move(reads, ctx, (mv.to, mv.from), &two, None, &mut out)?;
        change_parent(source.entry.ino, &mut one, mv.from, mv.to, &mut out);
        change_parent(target.entry.ino, &mut two, mv.to, mv.from, &mut out);
        let nlink = i32::from(one.is_dir()) - i32::from(two.is_dir());
        touch_dir(ctx, mv.from, -nlink, &mut out);
        touch_dir(ctx, mv.to, nlink, &mut out);
    }
    (one.ctime, two.ctime) = (ctx.now, ctx.now);
    out.push(Mutation::SetNode {
        ino: target.entry.ino,
        attr: two,
    });
    out.push(Mutation::SetNode {
        ino: source.entry.ino,
        attr: one.clone(),
    });
    Planned::with((source.entry.ino, one), out)
}

/// Whether a move crosses a quota's border, and with it needs a tree's usage.
pub(crate) fn crosses_quota(reads: &dyn Reads, ctx: &Ctx, from: Ino, to: Ino) -> Read<bool> {
    Ok(from != to && quota_dirs(reads, ctx, from)? != quota_dirs(reads, ctx, to)?)
}
