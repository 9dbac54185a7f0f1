//! BSD and POSIX locks.
//!
//! A POSIX **record** is what the format stores of one locked range: type (0 read,
//! 1 write), pid, first and last byte. An owner's records are sorted and do not overlap.

use bytes::{Buf, BufMut};
use carafe_types::{Error, Ino};

use crate::{
    FileLock, LockKind, LockRange,
    ops::{Ctx, Mutation, Plan, Planned, PlockRow, Read, Reads, existing},
};

const RECORD_LEN: usize = 24;
const READ: u32 = 0;
const WRITE: u32 = 1;

/// Sets or removes a BSD lock.
pub(crate) fn flock(
    reads: &dyn Reads,
    ctx: &Ctx,
    ino: Ino,
    owner: u64,
    kind: LockKind,
) -> Plan<()> {
    let session = ctx.session;
    let rows = reads.flocks(ino)?;
    let mine = rows
        .iter()
        .find(|row| row.session == session && row.owner == owner)
        .copied();
    if kind == LockKind::Unlock {
        let drop = Mutation::DropFlock {
            ino,
            session,
            owner,
        };
        return Planned::with((), mine.map(|_| drop).into_iter().collect());
    }
    existing(reads, ino)?;
    let write = kind == LockKind::Write;
    let others = rows
        .iter()
        .filter(|row| (row.session, row.owner) != (session, owner));
    if others.into_iter().any(|row| write || row.write) {
        return Err(Error::WouldBlock.into());
    }
    if mine.is_some_and(|row| row.write == write) {
        return Planned::unchanged(());
    }
    Planned::with(
        (),
        vec![Mutation::SetFlock {
            ino,
            session,
            owner,
            write,
        }],
    )
}

/// The first POSIX lock of others that conflicts.
pub(crate) fn getlk(
    reads: &dyn Reads,
    ctx: &Ctx,
    ino: Ino,
    owner: u64,
    lock: FileLock,
) -> Read<Option<FileLock>> {
    let rows = reads.plocks(ino)?;
    Ok(conflict(&rows, ctx, owner, lock))
}

/// Sets or removes a POSIX lock.
pub(crate) fn setlk(
    reads: &dyn Reads,
    ctx: &Ctx,
    ino: Ino,
    owner: u64,
    lock: FileLock,
) -> Plan<()> {
    if lock.range.start > lock.range.end {
        return Err(Error::Invalid.into());
    }
    let session = ctx.session;
    let rows = reads.plocks(ino)?;
    let mine = rows
        .iter()
        .find(|row| row.session == session && row.owner == owner);
    if lock.kind != LockKind::Unlock {
        existing(reads, ino)?;
        if conflict(&rows, ctx, owner, lock).is_some() {
            return Err(Error::WouldBlock.into());
        }
    }
    let old = mine.map(|row| row.records.clone()).unwrap_or_default();
    let records = encode(&change(decode(&old), lock));
    let mutation = match (records.is_empty(), records == old) {
        (_, true) => None,
        (true, false) => Some(Mutation::DropPlock {
            ino,
            session,
            owner,
        }),
        (false, false) => Some(Mutation::SetPlock {
            ino,
            session,
            owner,
            records,
        }),
    };
    Planned::with((), mutation.into_iter().collect())
}

fn conflict(rows: &[PlockRow], ctx: &Ctx, owner: u64, lock: FileLock) -> Option<FileLock> {
    if lock.kind == LockKind::Unlock {
        return None;
    }
    let others = rows
        .iter()
        .filter(|row| (row.session, row.owner) != (ctx.session, owner));
    others
        .flat_map(|row| {
            decode(&row.records)
                .into_iter()
                .map(move |held| (row.session, held))
        })
        .find_map(|(session, mut held)| {
            let clash = lock.kind == LockKind::Write || held.kind == LockKind::Write;
            let meets = lock.range.end >= held.range.start && lock.range.start <= held.range.end;
            if session != ctx.session {
                held.pid = 0; // a process of another machine has no number here
            }
            (clash && meets).then_some(held)
        })
}

fn decode(mut records: &[u8]) -> Vec<FileLock> {
    let mut locks = Vec::with_capacity(records.len() / RECORD_LEN);
    while records.len() >= RECORD_LEN {
        let kind = if records.get_u32() == WRITE {
            LockKind::Write
        } else {
            LockKind::Read
        };
        let pid = records.get_u32();
        let range = LockRange {
            start: records.get_u64(),
            end: records.get_u64(),
        };
        locks.push(FileLock { kind, range, pid });
    }
    locks
}

fn encode(locks: &[FileLock]) -> Vec<u8> {
    let mut out = Vec::with_capacity(locks.len() * RECORD_LEN);
    for lock in locks {
        out.put_u32(if lock.kind == LockKind::Write {
            WRITE
        } else {
            READ
        });
        out.put_u32(lock.pid);
        out.put_u64(lock.range.start);
        out.put_u64(lock.range.end);
    }
    out
}

/// An owner's records after `new` was laid over them.
fn change(old: Vec<FileLock>, new: FileLock) -> Vec<FileLock> {
    let mut locks = Vec::with_capacity(old.len() + 2);
    for lock in old {
        let (from, to) = (lock.range.start, lock.range.end);
        if from < new.range.start {
            locks.push(FileLock {
                range: LockRange {
                    start: from,
                    end: to.min(new.range.start - 1),
                },
                ..lock
            });
        }
        if to > new.range.end {
            locks.push(FileLock {
                range: LockRange {
                    start: from.max(new.range.end + 1),
                    end: to,
                },
                ..lock
            });
        }
    }
    if new.kind != LockKind::Unlock {
        locks.push(new);
    }
    locks.sort_by_key(|lock| lock.range.start);
    locks.dedup_by(|next, last| {
        let joins = next.kind == last.kind
            && next.pid == last.pid
            && last.range.end.checked_add(1) == Some(next.range.start);
        if joins {
            last.range.end = next.range.end;
        }
        joins
    });
    locks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lock(kind: LockKind, start: u64, end: u64) -> FileLock {
        FileLock {
            kind,
            range: LockRange { start, end },
            pid: 1,
        }
    }

    #[test]
    fn unlocking_the_middle_leaves_both_ends() {
        let held = change(Vec::new(), lock(LockKind::Write, 0, 99));
        let left = change(held, lock(LockKind::Unlock, 10, 19));
        assert_eq!(
            left,
            [lock(LockKind::Write, 0, 9), lock(LockKind::Write, 20, 99)]
        );
    }

    #[test]
    fn neighbours_of_one_kind_become_one() {
        let held = change(Vec::new(), lock(LockKind::Read, 0, 9));
        assert_eq!(
            change(held, lock(LockKind::Read, 10, 19)),
            [lock(LockKind::Read, 0, 19)]
        );
    }

    proptest! {
        /// The reference holds one kind a byte.
        #[test]
        fn changes_agree_with_painting(steps in prop::collection::vec((0u8..3, 0u64..60, 0u64..20), 1..20)) {
            let mut painted = [LockKind::Unlock; 96];
            let mut locks = Vec::new();
            for (kind, start, len) in steps {
                let kind = [LockKind::Read, LockKind::Write, LockKind::Unlock][kind as usize];
                locks = decode(&encode(&change(locks, lock(kind, start, start + len))));
                painted[start as usize..=(start + len) as usize].fill(kind);
            }
            let mut seen = [LockKind::Unlock; 96];
            for lock in &locks {
                for at in lock.range.start..=lock.range.end {
                    prop_assert_eq!(seen[at as usize], LockKind::Unlock, "no overlap");
                    seen[at as usize] = lock.kind;
                }
            }
            prop_assert_eq!(seen, painted);
        }
    }
}
