//! Quotas of directories.

use carafe_types::{Error, Ino};

use crate::{
    Quota, QuotaUsage, StatFs,
    ops::{Counter, Ctx, Mutation, Plan, Planned, Read, Reads, existing_dir, quota_dirs},
};

/// Sets a directory's limits. `used` is its tree's usage, which counts if the quota is new.
pub(crate) fn set(reads: &dyn Reads, ino: Ino, quota: Quota, used: (i64, i64)) -> Plan<()> {
    check_dir(reads, ino)?;
    let used = if reads.quota(ino)?.is_some() {
        None
    } else {
        Some(used)
    };
    Planned::with(
        (),
        vec![Mutation::SetQuota {
            dir: ino,
            quota,
            used,
        }],
    )
}

/// A directory's quota.
pub(crate) fn get(reads: &dyn Reads, ino: Ino) -> Read<Option<QuotaUsage>> {
    reads.quota(ino)
}

/// Removes a directory's quota.
pub(crate) fn remove(ino: Ino) -> Plan<()> {
    Planned::with((), vec![Mutation::DropQuota { dir: ino }])
}

fn check_dir(reads: &dyn Reads, ino: Ino) -> Read<()> {
    if ino.is_trash() {
        return Err(Error::NotPermitted.into());
    }
    existing_dir(reads, ino).map(|_| ())
}

/// Makes a directory's statistics from what was counted, unless they are there. The
/// peer formats without the root's and makes them at its first change.
pub(crate) fn init_stat(
    reads: &dyn Reads,
    dir: Ino,
    (length, space, inodes): (i64, i64, i64),
) -> Plan<()> {
    if reads.has_dir_stat(dir)? {
        return Planned::unchanged(());
    }
    let counted = Mutation::DirStat {
        dir,
        length,
        space,
        inodes,
    };
    Planned::with((), vec![Mutation::InitDirStat { dir }, counted])
}

const NO_CAPACITY: u64 = 1 << 50;
const NO_INODES: u64 = 10 << 20;

/// Usage and limits as they show at `root`: the volume's, within the quotas above.
pub(crate) fn statfs(reads: &dyn Reads, ctx: &Ctx, root: Ino) -> Read<StatFs> {
    let mut stat = whole(reads, ctx)?;
    let mut nearest = None;
    for dir in quota_dirs(reads, ctx, root)? {
        let Some(QuotaUsage {
            quota,
            used_bytes,
            used_inodes,
        }) = reads.quota(dir)?
        else {
            continue;
        };
        let (bytes, inodes) = (used_bytes.max(0) as u64, used_inodes.max(0) as u64);
        if quota.max_bytes > 0 {
            stat.free_bytes = stat.free_bytes.min(quota.max_bytes.saturating_sub(bytes));
        }
        if quota.max_inodes > 0 {
            stat.free_inodes = stat
                .free_inodes
                .min(quota.max_inodes.saturating_sub(inodes));
        }
        nearest = nearest.or(Some((bytes, inodes)));
    }
    if let Some((bytes, inodes)) = nearest {
        stat.total_bytes = bytes + stat.free_bytes;
        stat.used_inodes = inodes;
    }
    Ok(stat)
}

fn whole(reads: &dyn Reads, ctx: &Ctx) -> Read<StatFs> {
    let used = reads.counter(Counter::UsedSpace)?.max(0) as u64;
    let used_inodes = reads.counter(Counter::TotalInodes)?.max(0) as u64;
    let mut total = if ctx.capacity > 0 {
        ctx.capacity.max(used)
    } else {
        NO_CAPACITY
    };
    while ctx.capacity == 0 && total / 10 * 8 < used && total < u64::MAX / 4 {
        total *= 2;
    }
    let mut free_inodes = if ctx.max_inodes > 0 {
        ctx.max_inodes.saturating_sub(used_inodes)
    } else {
        NO_INODES
    };
    while ctx.max_inodes == 0 && free_inodes < used_inodes / 4 && free_inodes < u64::MAX / 4 {
        free_inodes *= 2;
    }
    Ok(StatFs {
        total_bytes: total,
        free_bytes: total - used,
        used_inodes,
        free_inodes,
    })
}
