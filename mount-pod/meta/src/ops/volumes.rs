//! Volumes of claims.
//!
//! A deleted volume's directory moves into the **tombstones**: a directory at the
//! root, closed to all but root, that an ordinary client sees as an ordinary
//! directory. Its trees are removed entry by entry, through the trash.

use carafe_types::{Error, FileType, Ino};

use crate::{
    NewNode, NewVolume, Quota, RenameFlags, VolumeError, VolumeRecord,
    ops::{
        Ctx, Mutation, Plan, Planned, Read, Reads,
        create::{TRASH_NAME, new_entry},
        existing_dir,
        rename::{Move, rename},
        writable_dir,
    },
};

/// The tombstones' name at the root.
pub const TOMBSTONES: &[u8] = b".carafe-deleted";

/// What no volume may be called at the root.
const RESERVED: [&[u8]; 6] = [
    TRASH_NAME,
    TOMBSTONES,
    b".control",
    b".accesslog",
    b".stats",
    b".config",
];

/// What a volume's operation answers.
pub(crate) type VolumeResult<T> = Result<T, VolumeError>;

/// Refuses a path that no volume may have: one that is not relative, leaves the file
/// system, or names what is not a user's.
pub fn check_path(path: &str) -> Result<(), VolumeError> {
    parts(path).map(drop)
}

/// A path's parts, if a volume may have it.
pub(crate) fn parts(path: &str) -> VolumeResult<Vec<&[u8]>> {
    let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
    let bad = |part: &&[u8]| {
        part.is_empty() || part.len() > 255 || *part == b"." || *part == b".." || part.contains(&0)
    };
    if parts.iter().any(bad) || RESERVED.contains(&parts[0]) || path.len() > 4095 {
        return Err(VolumeError::BadPath(path.to_owned()));
    }
    Ok(parts)
}

/// Makes a volume's directories (from `inos`, one for each part of the path), its
/// quota and its record. `used` is the tree's usage, if the directory is there already.
pub(crate) fn create(
    reads: &dyn Reads,
    ctx: &Ctx,
    volume: &NewVolume,
    inos: &[Ino],
    used: (i64, i64),
) -> Plan<VolumeResult<VolumeRecord>> {
    if let Some(record) = reads.volume(&volume.id)? {
        return Planned::unchanged(same(volume, record));
    }
    let parts = match parts(&volume.path) {
        Ok(parts) => parts,
        Err(error) => return Planned::unchanged(Err(error)),
    };
    let sharers = reads.volumes_at(&volume.path)?;
    for other in above(reads, &volume.path)?.iter().chain(&sharers) {
        if let Err(error) = beside(volume, other) {
            return Planned::unchanged(Err(error));
        }
    }
    let mut out = Vec::new();
    let (ino, is_new) = make_dirs(reads, ctx, &parts, volume.mode, inos, &mut out)?;
    let record = record_of(volume, ino);
    let limits = limits(sharers.iter().chain([&record]));
    set_limits(reads, ino, limits, is_new, used, &mut out)?;
    out.push(Mutation::SetVolume {
        record: record.clone(),
    });
    Planned::with(Ok(record), out)
}

/// The volumes in whose directories a path lies.
fn above(reads: &dyn Reads, path: &str) -> Read<Vec<VolumeRecord>> {
    let mut found = Vec::new();
    for (end, _) in path.match_indices('/') {
        found.extend(reads.volumes_at(&path[..end])?);
    }
    Ok(found)
}

/// Whether a new volume may be where another one is, above it or in it: what one
/// deletes would be gone for the other.
pub(crate) fn beside(volume: &NewVolume, other: &VolumeRecord) -> VolumeResult<()> {
    if other.share && volume.share || other.id == volume.id {
        return Ok(());
    }
    let VolumeRecord {
        id, owner, path, ..
    } = other.clone();
    Err(VolumeError::PathTaken {
        path: volume.path.clone(),
        id,
        owner,
        taken: path,
    })
}

/// Whether one path lies in another.
pub(crate) fn is_in(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// What volumes that share a directory may use together: what the largest may.
fn limits<'a>(sharers: impl Iterator<Item = &'a VolumeRecord>) -> Quota {
    // Zero is no limit: above each other.
    let larger = |one: u64, other: u64| {
        if one == 0 || other == 0 {
            0
        } else {
            one.max(other)
        }
    };
    let quota = |record: &VolumeRecord| Quota {
        max_bytes: record.capacity,
        max_inodes: record.inodes,
    };
    let largest = |one: Quota, other: Quota| Quota {
        max_bytes: larger(one.max_bytes, other.max_bytes),
        max_inodes: larger(one.max_inodes, other.max_inodes),
    };
    sharers.map(quota).reduce(largest).unwrap_or_default()
}

fn record_of(volume: &NewVolume, ino: Ino) -> VolumeRecord {
    let NewVolume {
        id,
        path,
        capacity,
        inodes,
        share,
        owner,
        ..
    } = volume.clone();
    VolumeRecord {
        id,
        path,
        ino,
        capacity,
        inodes,
        share,
        owner,
    }
}

/// An equal volume is answered, another one refused.
fn same(volume: &NewVolume, record: VolumeRecord) -> VolumeResult<VolumeRecord> {
    let differs = |what: String| {
        Err(VolumeError::Different {
            id: volume.id.clone(),
            what,
        })
    };
    if record.path != volume.path {
        return differs(format!("path {:?}, not {:?}", record.path, volume.path));
    }
    if record.capacity != volume.capacity {
        return differs(format!(
            "a capacity of {} bytes, not {}",
            record.capacity, volume.capacity
        ));
    }
    if record.inodes != volume.inodes {
        return differs(format!(
            "a limit of {} inodes, not {}",
            record.inodes, volume.inodes
        ));
    }
    if record.share != volume.share {
        return differs(format!("share {}, not {}", record.share, volume.share));
    }
    Ok(record)
}

/// Walks the path and makes what is missing: the last part with the volume's mode,
/// those above it open to pass. Answers the last one, and whether it is new.
fn make_dirs(
    reads: &dyn Reads,
    ctx: &Ctx,
    parts: &[&[u8]],
    mode: u16,
    inos: &[Ino],
    out: &mut Vec<Mutation>,
) -> Read<(Ino, bool)> {
    let mut at = Ino::ROOT;
    let mut dir = existing_dir(reads, at)?;
    let mut is_new = false;
    for (index, (name, &ino)) in parts.iter().zip(inos).enumerate() {
        let entry = if is_new { None } else { reads.entry(at, name)? };
        if let Some(entry) = entry {
            at = entry.ino;
            dir = existing_dir(reads, at)?;
            continue;
        }
        if !is_new {
            dir = writable_dir(reads, at)?;
        }
        let mode = if index + 1 == parts.len() {
            mode
        } else {
            0o755
        };
        let node = NewNode {
            kind: FileType::Directory,
            mode,
            ..NewNode::default()
        };
        dir = new_entry(reads, ctx, (at, &dir), name, &node, ino, out)?;
        at = ino;
        is_new = true;
    }
    Ok((at, is_new))
}

fn set_limits(
    reads: &dyn Reads,
    dir: Ino,
    quota: Quota,
    is_new: bool,
    used: (i64, i64),
    out: &mut Vec<Mutation>,
) -> Read<()> {
    if quota == Quota::default() {
        return Ok(());
    }
    let has_one = !is_new && reads.quota(dir)?.is_some();
    let used = if is_new { (0, 0) } else { used };
    out.push(Mutation::SetQuota {
        dir,
        quota,
        used: (!has_one).then_some(used),
    });
    Ok(())
}

/// Changes a volume's capacity. `used` counts if it had no quota before.
pub(crate) fn resize(
    reads: &dyn Reads,
    id: &str,
    capacity: u64,
    used: (i64, i64),
) -> Plan<VolumeResult<VolumeRecord>> {
    let Some(mut record) = reads.volume(id)? else {
        return Planned::unchanged(Err(VolumeError::NotFound(id.to_owned())));
    };
    if record.capacity == capacity {
        return Planned::unchanged(Ok(record));
    }
    record.capacity = capacity;
    let others = others(reads, &record)?;
    let quota = limits(others.iter().chain([&record]));
    let mut out = vec![Mutation::SetVolume {
        record: record.clone(),
    }];
    if quota == Quota::default() {
        out.push(Mutation::DropQuota { dir: record.ino });
    } else {
        set_limits(reads, record.ino, quota, false, used, &mut out)?;
    }
    Planned::with(Ok(record), out)
}

/// The other volumes of a volume's path.
fn others(reads: &dyn Reads, record: &VolumeRecord) -> Read<Vec<VolumeRecord>> {
    let mut others = reads.volumes_at(&record.path)?;
    others.retain(|other| other.id != record.id);
    Ok(others)
}

/// Removes a volume's record and, with the last one of its path, moves the
/// directory into `tombstones`, unless it is `held`: another volume lies in it. `tree`
/// is what it uses, where quotas stand above it.
pub(crate) fn delete(
    reads: &dyn Reads,
    ctx: &Ctx,
    id: &str,
    tombstones: Ino,
    tree: Option<(i64, i64)>,
    held: bool,
) -> Plan<()> {
    let Some(record) = reads.volume(id)? else {
        return Planned::unchanged(());
    };
    let others = others(reads, &record)?;
    let mut out = vec![Mutation::DropVolume {
        record: record.clone(),
    }];
    if !others.is_empty() {
        set_limits(
            reads,
            record.ino,
            limits(others.iter()),
            false,
            (0, 0),
            &mut out,
        )?;
    } else if !held && let Some((parent, name)) = place(reads, &record)? {
        let new_name = format!("{}-{}", record.ino, ctx.now.secs);
        let mv = Move {
            from: parent,
            name: &name,
            to: tombstones,
            new_name: new_name.as_bytes(),
            tree,
            into_trash: false,
        };
        out.extend(rename(reads, ctx, mv, RenameFlags::NoReplace)?.mutations);
        out.push(Mutation::DropQuota { dir: record.ino });
    }
    Planned::with((), out)
}

/// Where a volume's directory is now, if its path still leads to it.
fn place(reads: &dyn Reads, record: &VolumeRecord) -> Read<Option<(Ino, Vec<u8>)>> {
    let mut at = Ino::ROOT;
    let parts: Vec<&[u8]> = record.path.split('/').map(str::as_bytes).collect();
    let Some((last, above)) = parts.split_last() else {
        return Ok(None);
    };
    for part in above {
        match reads.entry(at, part)? {
            Some(entry) => at = entry.ino,
            None => return Ok(None),
        }
    }
    let found = reads
        .entry(at, last)?
        .filter(|entry| entry.ino == record.ino);
    Ok(found.map(|_| (at, last.to_vec())))
}

/// Makes the tombstones as `ino`, unless they are there.
pub(crate) fn tombstones(reads: &dyn Reads, ctx: &Ctx, ino: Ino) -> Plan<Ino> {
    if let Some(entry) = reads.entry(Ino::ROOT, TOMBSTONES)? {
        return Planned::unchanged(entry.ino);
    }
    let root = existing_dir(reads, Ino::ROOT)?;
    let node = NewNode {
        kind: FileType::Directory,
        mode: 0o700,
        ..NewNode::default()
    };
    let mut out = Vec::new();
    new_entry(
        reads,
        &ctx.unlimited(),
        (Ino::ROOT, &root),
        TOMBSTONES,
        &node,
        ino,
        &mut out,
    )?;
    Planned::with(ino, out)
}

/// Whether a volume's path is there already, and as which inode: then its tree's
/// usage must be counted before it gets a quota.
pub(crate) fn find(reads: &dyn Reads, path: &str) -> Read<Option<Ino>> {
    let mut at = Ino::ROOT;
    for part in path.split('/') {
        match reads.entry(at, part.as_bytes())? {
            Some(entry) if entry.kind == FileType::Directory => at = entry.ino,
            Some(_) => return Err(Error::NotDirectory.into()),
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}
