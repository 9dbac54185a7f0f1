//! Setting right what a check found wrong.

use carafe_types::{Attr, FileType, Ino};

use crate::{
    DirReport, DirStat,
    ops::{Ctx, Mutation, Plan, Planned, Reads},
};

/// Sets a directory's links, or makes its attributes, if it is what was found still.
pub(crate) fn dir(
    reads: &dyn Reads,
    ctx: &Ctx,
    ino: Ino,
    parent: Ino,
    report: &DirReport,
) -> Plan<bool> {
    let now = reads.node(ino)?;
    if now != report.attr {
        return Planned::unchanged(false);
    }
    let repair = match now {
        Some(attr) if attr.nlink == report.links => return Planned::unchanged(true),
        Some(attr) => Mutation::SetNode {
            ino,
            attr: Attr {
                nlink: report.links,
                ctime: ctx.now,
                ..attr
            },
        },
        None => Mutation::NewNode {
            ino,
            attr: new_dir(ctx, parent, report.links),
        },
    };
    Planned::with(true, vec![repair])
}

/// The attributes of a directory of which nothing is known: root's, for others to read.
fn new_dir(ctx: &Ctx, parent: Ino, nlink: u32) -> Attr {
    Attr {
        kind: FileType::Directory,
        mode: 0o755,
        atime: ctx.now,
        mtime: ctx.now,
        ctime: ctx.now,
        nlink,
        length: 4096,
        parent,
        ..Attr::default()
    }
}

/// Adds what a directory's statistics lack. What others book meanwhile adds up with it.
pub(crate) fn dir_stat(reads: &dyn Reads, dir: Ino, gap: DirStat) -> Plan<()> {
    let mut out = Vec::new();
    if !reads.has_dir_stat(dir)? {
        out.push(Mutation::InitDirStat { dir });
    }
    let DirStat {
        length,
        space,
        inodes,
    } = gap;
    out.push(Mutation::DirStat {
        dir,
        length,
        space,
        inodes,
    });
    Planned::with((), out)
}

/// Adds what was not booked in a quota.
pub(crate) fn quota(dir: Ino, space: i64, inodes: i64) -> Plan<()> {
    Planned::with((), vec![Mutation::UseQuota { dir, space, inodes }])
}

/// Sets a quota's usage to `used`, above its limits too.
pub(crate) fn quota_over(reads: &dyn Reads, dir: Ino, used: (i64, i64)) -> Plan<()> {
    let Some(found) = reads.quota(dir)? else {
        return Planned::unchanged(());
    };
    Planned::with(
        (),
        vec![
            Mutation::DropQuota { dir },
            Mutation::SetQuota {
                dir,
                quota: found.quota,
                used: Some(used),
            },
        ],
    )
}
