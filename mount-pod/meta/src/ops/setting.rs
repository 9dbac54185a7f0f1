//! Making a volume: its setting, its root and its trash.

use carafe_types::{Attr, Error, FileType, Format, Ino};

use crate::ops::{Ctx, Mutation, Plan, Planned, Reads, Share, book_volume, space_of};

/// Writes the setting `json` of `format`, whose secrets are sealed in it.
pub(crate) fn format(
    reads: &dyn Reads,
    ctx: &Ctx,
    format: &Format,
    json: &str,
    force: bool,
) -> Plan<()> {
    let old = reads.setting()?;
    let mut out = Vec::new();
    if let Some(old) = &old {
        let old: Format = serde_json::from_str(old)
            .map_err(|error| Error::Io(format!("the setting is damaged: {error}")))?;
        if old.uuid != format.uuid && !force {
            return Err(Error::Exists.into());
        }
        if old.opened().ok().as_ref() != Some(format) {
            out.push(Mutation::SetSetting {
                json: json.to_owned(),
            });
        }
    } else {
        out.push(Mutation::InitCounters);
        out.push(Mutation::NewNode {
            ino: Ino::ROOT,
            attr: root(ctx, Ino::ROOT, 0o777),
        });
        out.push(Mutation::SetSetting {
            json: json.to_owned(),
        });
        out.push(Mutation::InitDirStat { dir: Ino::ROOT });
    }
    if format.trash_days > 0 && reads.node(Ino::TRASH)?.is_none() {
        out.push(Mutation::NewNode {
            ino: Ino::TRASH,
            attr: root(ctx, Ino::ROOT, 0o555),
        });
    }
    Planned::with((), out)
}

fn root(ctx: &Ctx, parent: Ino, mode: u16) -> Attr {
    Attr {
        kind: FileType::Directory,
        mode,
        atime: ctx.now,
        mtime: ctx.now,
        ctime: ctx.now,
        nlink: 2,
        length: 4096,
        parent,
        ..Attr::default()
    }
}

/// Makes the trash's directory of an hour as inode `ino`, unless it is there.
pub(crate) fn trash_dir(reads: &dyn Reads, ctx: &Ctx, name: &[u8], ino: Ino) -> Plan<Ino> {
    if let Some(entry) = reads.entry(Ino::TRASH, name)? {
        return Planned::unchanged(entry.ino);
    }
    let share = Share {
        length: 0,
        space: space_of(0),
        inodes: 1,
    };
    let mut out = vec![
        Mutation::NewNode {
            ino,
            attr: root(ctx, Ino::TRASH, 0o555),
        },
        Mutation::SetEntry {
            parent: Ino::TRASH,
            name: name.to_vec(),
            kind: FileType::Directory,
            ino,
        },
        Mutation::InitDirStat { dir: ino },
    ];
    book_volume(&ctx.unlimited(), share.space, share.inodes, &mut out);
    Planned::with(ino, out)
}
