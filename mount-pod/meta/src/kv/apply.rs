//! Mutations as writes of keys. What they change they read first, through the same
//! view as the plan, so that the commit guards it, too.

use std::collections::BTreeMap;

use bytes::Bytes;
use carafe_types::{CHUNK_SIZE, Error, Ino, SLICE_RECORD_LEN, SessionId, Slice, SliceId};

use super::{
    keys, locks,
    store::Key,
    view::{View, damaged},
};
use crate::{
    ops::{Counter, DelayedKey, FlockRow, Mutation, PlockRow, Read, Reads, Stop},
    sqlite::rows::delayed_list,
};

/// Applies mutations in order. What is missing for any of them is noted at once.
pub(super) fn apply_all(view: &View<'_>, mutations: &[Mutation]) -> Read<()> {
    let mut outcome = use_all(view, mutations);
    for mutation in mutations {
        match apply(view, mutation, mutations) {
            Ok(()) => {}
            Err(Stop::Missing) => outcome = outcome.and(Err(Stop::Missing)),
            Err(answer) => return Err(answer),
        }
    }
    outcome
}

fn apply(view: &View<'_>, mutation: &Mutation, all: &[Mutation]) -> Read<()> {
    match mutation {
        Mutation::SetSetting { .. }
        | Mutation::InitCounters
        | Mutation::SetCounter { .. }
        | Mutation::SetSession { .. }
        | Mutation::ExtendSession { .. }
        | Mutation::DropSession { .. }
        | Mutation::SetVolume { .. }
        | Mutation::DropVolume { .. } => apply_book(view, mutation),
        Mutation::NewNode { .. }
        | Mutation::SetNode { .. }
        | Mutation::DropNode { .. }
        | Mutation::TouchDir { .. }
        | Mutation::SetEntry { .. }
        | Mutation::DropEntry { .. }
        | Mutation::CountParent { .. }
        | Mutation::DropParents { .. }
        | Mutation::SetSymlink { .. }
        | Mutation::DropSymlink { .. }
        | Mutation::SetXattr { .. }
        | Mutation::DropXattr { .. }
        | Mutation::DropXattrs { .. } => apply_name(view, mutation),
        Mutation::AppendSlice { .. }
        | Mutation::ReplaceSlices { .. }
        | Mutation::ZeroChunks { .. }
        | Mutation::NewSlice { .. }
        | Mutation::RefSlice { .. }
        | Mutation::DropSlice { .. }
        | Mutation::DropChunk { .. }
        | Mutation::AddDelayed { .. }
        | Mutation::DropDelayed { .. } => apply_data(view, mutation, all),
        Mutation::Sustain { .. }
        | Mutation::Unsustain { .. }
        | Mutation::AddDeleted { .. }
        | Mutation::DropDeleted { .. } => {
            apply_rest(view, mutation);
            Ok(())
        }
        Mutation::InitDirStat { .. }
        | Mutation::DirStat { .. }
        | Mutation::DropDirStat { .. }
        | Mutation::Use { .. }
        | Mutation::UseQuota { .. }
        | Mutation::SetQuota { .. }
        | Mutation::DropQuota { .. } => apply_usage(view, mutation),
        Mutation::SetFlock { .. }
        | Mutation::DropFlock { .. }
        | Mutation::SetPlock { .. }
        | Mutation::DropPlock { .. } => apply_lock(view, mutation),
    }
}

/// Adds to a little-endian number; one that comes to 0 goes if `sparse`.
fn add(view: &View<'_>, key: Key, delta: i64, sparse: bool) -> Read<()> {
    let old = view.value(key.clone())?;
    let old = old.map_or(Some(0), |value| keys::sum(&value));
    let new = old.ok_or_else(|| damaged("a number"))? + delta;
    if new == 0 && sparse {
        view.delete(key);
    } else {
        view.put(key, new.to_le_bytes().to_vec());
    }
    Ok(())
}

fn apply_book(view: &View<'_>, mutation: &Mutation) -> Read<()> {
    match mutation {
        Mutation::SetSetting { json } => view.put(keys::SETTING.to_vec(), json.clone()),
        Mutation::InitCounters => {
            // These two hold the next id; the others start as absent ones.
            for (counter, next) in [(Counter::NextInode, 2i64), (Counter::NextChunk, 1)] {
                if view.value(keys::counter(counter))?.is_none() {
                    view.put(keys::counter(counter), next.to_le_bytes().to_vec());
                }
            }
        }
        Mutation::SetCounter { counter, value } => {
            let bytes = if keys::is_lease(*counter) {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            };
            view.put(keys::counter(*counter), bytes.to_vec());
        }
        Mutation::SetSession {
            session,
            expires,
            info,
        } => {
            view.put(
                keys::session_expiry(*session),
                keys::numbers_value(&[*expires]),
            );
            view.put(keys::session_info(*session), info.clone());
        }
        Mutation::ExtendSession { session, expires } => {
            view.put(
                keys::session_expiry(*session),
                keys::numbers_value(&[*expires]),
            );
        }
        // What else it has went before: see `Kv::clear_session`.
        Mutation::DropSession { session } => {
            view.delete(keys::session_expiry(*session));
            view.delete(keys::session_info(*session));
        }
        Mutation::SetVolume { record } => {
            let json = serde_json::to_vec(record).map_err(|error| Error::Io(error.to_string()))?;
            view.put(keys::volume(&record.id), json);
            view.put(keys::volume_at(&record.path, &record.id), Bytes::new());
        }
        Mutation::DropVolume { record } => {
            view.delete(keys::volume(&record.id));
            view.delete(keys::volume_at(&record.path, &record.id));
        }
        _ => {}
    }
    Ok(())
}

fn apply_name(view: &View<'_>, mutation: &Mutation) -> Read<()> {
    match mutation {
        Mutation::NewNode { ino, attr } | Mutation::SetNode { ino, attr } => {
            view.put(keys::node(*ino), attr.encode());
        }
        Mutation::DropNode { ino } => view.delete(keys::node(*ino)),
        Mutation::TouchDir { ino, nlink, time } => {
            if let Some(mut attr) = view.node(*ino)? {
                attr.nlink = attr.nlink.saturating_add_signed(*nlink);
                (attr.mtime, attr.ctime) = (*time, *time);
                view.put(keys::node(*ino), attr.encode());
            }
        }
        Mutation::SetEntry {
            parent,
            name,
            kind,
            ino,
        } => view.put(keys::entry(*parent, name), keys::entry_value(*kind, *ino)),
        Mutation::DropEntry { parent, name } => view.delete(keys::entry(*parent, name)),
        Mutation::CountParent { ino, parent, delta } => {
            add(view, keys::parent(*ino, *parent), *delta, true)?;
        }
        Mutation::DropParents { ino } => {
            for (key, _) in view.all(&keys::parents(*ino), false)? {
                view.delete(key);
            }
        }
        Mutation::SetSymlink { ino, target } => view.put(keys::symlink(*ino), target.clone()),
        Mutation::DropSymlink { ino } => view.delete(keys::symlink(*ino)),
        Mutation::SetXattr { ino, name, value } => {
            view.put(keys::xattr(*ino, name), value.clone());
        }
        Mutation::DropXattr { ino, name } => view.delete(keys::xattr(*ino, name)),
        Mutation::DropXattrs { ino } => {
            for (key, _) in view.all(&keys::xattrs(*ino), true)? {
                view.delete(key);
            }
        }
        _ => {}
    }
    Ok(())
}

fn apply_data(view: &View<'_>, mutation: &Mutation, all: &[Mutation]) -> Read<()> {
    match mutation {
        Mutation::AppendSlice { ino, index, slice } => {
            let key = keys::chunk(*ino, *index);
            let list = view.value(key.clone())?.unwrap_or_default();
            view.put(key, [&list[..], &slice.encode()].concat());
        }
        Mutation::ReplaceSlices {
            ino,
            index,
            count,
            by,
        } => {
            let key = keys::chunk(*ino, *index);
            let list = view.value(key.clone())?.unwrap_or_default();
            let rest = list.get(count * SLICE_RECORD_LEN..).unwrap_or_default();
            let front = by.iter().flat_map(Slice::encode);
            view.put(key, front.chain(rest.iter().copied()).collect::<Vec<u8>>());
        }
        Mutation::ZeroChunks { ino, after, before } => {
            let range = keys::chunk(*ino, after + 1)..keys::chunk(*ino, *before);
            let hole = Slice::hole(0, CHUNK_SIZE as u32).encode();
            if range.start < range.end {
                for (key, list) in view.all(&range, false)? {
                    view.put(key, [&list[..], &hole].concat());
                }
            }
        }
        Mutation::RefSlice { id, size, delta } => {
            add(view, keys::slice(*id, *size), *delta, true)?;
        }
        Mutation::DropSlice { id, size } => view.delete(keys::slice(*id, *size)),
        Mutation::DropChunk { ino, index } => view.delete(keys::chunk(*ino, *index)),
        Mutation::AddDelayed { key, slices } => {
            let key = keys::delayed(*key);
            let list = view.value(key.clone())?.unwrap_or_default();
            view.put(key, [&list[..], &delayed_list(slices)].concat());
        }
        Mutation::DropDelayed { key } => drop_delayed(view, *key, all)?,
        // NewSlice: no record means one reference.
        _ => {}
    }
    Ok(())
}

/// Takes those off the list that lose their references now. A long list is taken off
/// in parts, and what is left of it waits for the next one.
fn drop_delayed(view: &View<'_>, key: DelayedKey, all: &[Mutation]) -> Read<()> {
    let front = delayed_list(&all.iter().filter_map(as_dereference).collect::<Vec<_>>());
    let key = keys::delayed(key);
    let list = view.value(key.clone())?.unwrap_or_default();
    // Otherwise somebody else took them off, and their references went with them.
    let rest = list.strip_prefix(&front[..]).filter(|_| !list.is_empty());
    match rest.ok_or(Error::NotFound)? {
        [] => view.delete(key),
        rest => view.put(key, rest.to_vec()),
    }
    Ok(())
}

fn apply_rest(view: &View<'_>, mutation: &Mutation) {
    match mutation {
        Mutation::Sustain { session, ino } => view.put(keys::sustained(*session, *ino), vec![1]),
        Mutation::Unsustain { session, ino } => view.delete(keys::sustained(*session, *ino)),
        Mutation::AddDeleted { ino, length, time } => {
            view.put(
                keys::deleted(*ino, *length),
                keys::numbers_value(&[time.secs]),
            );
        }
        Mutation::DropDeleted { ino, length } => view.delete(keys::deleted(*ino, *length)),
        _ => {}
    }
}

/// Books usage: what one plan adds in several steps counts as one.
fn use_all(view: &View<'_>, mutations: &[Mutation]) -> Read<()> {
    let mut volume = (0, 0);
    let mut most = (0, 0);
    let mut quotas: BTreeMap<Ino, (i64, i64)> = BTreeMap::new();
    for mutation in mutations {
        match mutation {
            Mutation::Use {
                space,
                inodes,
                capacity,
                max_inodes,
            } => {
                volume = (volume.0 + space, volume.1 + inodes);
                most = (*capacity, *max_inodes);
            }
            Mutation::UseQuota { dir, space, inodes } => {
                let sum = quotas.entry(*dir).or_default();
                *sum = (sum.0 + space, sum.1 + inodes);
            }
            _ => {}
        }
    }
    let volume = [
        use_counter(view, Counter::UsedSpace, volume.0, most.0),
        use_counter(view, Counter::TotalInodes, volume.1, most.1),
    ];
    let quotas = quotas
        .into_iter()
        .map(|(dir, used)| use_quota(view, dir, used));
    // All are asked for before any is waited for.
    let all: Vec<Read<()>> = volume.into_iter().chain(quotas).collect();
    all.into_iter().collect()
}

fn is_over(growth: i64, sum: i64, limit: i64) -> bool {
    growth > 0 && limit > 0 && sum > limit
}

fn use_counter(view: &View<'_>, counter: Counter, delta: i64, limit: u64) -> Read<()> {
    if delta == 0 {
        return Ok(());
    }
    let sum = view.counter(counter)? + delta;
    if is_over(delta, sum, limit.min(i64::MAX as u64) as i64) {
        return Err(Error::NoSpace.into());
    }
    view.put(keys::counter(counter), sum.to_le_bytes().to_vec());
    Ok(())
}

fn use_quota(view: &View<'_>, dir: Ino, (space, inodes): (i64, i64)) -> Read<()> {
    if (space, inodes) == (0, 0) {
        return Ok(());
    }
    let Some(value) = view.value(keys::quota(dir))? else {
        return Ok(());
    };
    let [max_space, max_inodes, used_space, used_inodes] =
        keys::numbers(&value).ok_or_else(|| damaged("a quota"))?;
    let used = (used_space + space, used_inodes + inodes);
    if is_over(space, used.0, max_space) || is_over(inodes, used.1, max_inodes) {
        return Err(Error::QuotaExceeded.into());
    }
    let value = keys::numbers_value(&[max_space, max_inodes, used.0, used.1]);
    view.put(keys::quota(dir), value);
    Ok(())
}

fn apply_usage(view: &View<'_>, mutation: &Mutation) -> Read<()> {
    match mutation {
        Mutation::InitDirStat { dir } => {
            view.put(keys::dir_stat(*dir), keys::numbers_value(&[0; 3]));
        }
        Mutation::DirStat {
            dir,
            length,
            space,
            inodes,
        } => {
            let key = keys::dir_stat(*dir);
            if let Some(value) = view.value(key.clone())? {
                let [old_length, old_space, old_inodes] =
                    keys::numbers(&value).ok_or_else(|| damaged("a directory's statistics"))?;
                let new = [old_length + length, old_space + space, old_inodes + inodes];
                view.put(key, keys::numbers_value(&new));
            }
        }
        Mutation::DropDirStat { dir } => view.delete(keys::dir_stat(*dir)),
        Mutation::SetQuota { dir, quota, used } => {
            let (space, inodes) = match used {
                Some(used) => *used,
                None => view
                    .quota(*dir)?
                    .map_or((0, 0), |usage| (usage.used_bytes, usage.used_inodes)),
            };
            let limits = [
                quota.max_bytes as i64,
                quota.max_inodes as i64,
                space,
                inodes,
            ];
            view.put(keys::quota(*dir), keys::numbers_value(&limits));
        }
        Mutation::DropQuota { dir } => view.delete(keys::quota(*dir)),
        // Use and UseQuota: see `use_all`.
        _ => {}
    }
    Ok(())
}

fn apply_lock(view: &View<'_>, mutation: &Mutation) -> Read<()> {
    match mutation {
        Mutation::SetFlock {
            ino,
            session,
            owner,
            write,
        } => {
            let row = FlockRow {
                session: *session,
                owner: *owner,
                write: *write,
            };
            set_flock(view, *ino, (*session, *owner), Some(row))
        }
        Mutation::DropFlock {
            ino,
            session,
            owner,
        } => set_flock(view, *ino, (*session, *owner), None),
        Mutation::SetPlock {
            ino,
            session,
            owner,
            records,
        } => {
            let row = PlockRow {
                session: *session,
                owner: *owner,
                records: records.clone(),
            };
            set_plock(view, *ino, (*session, *owner), Some(row))
        }
        Mutation::DropPlock {
            ino,
            session,
            owner,
        } => set_plock(view, *ino, (*session, *owner), None),
        _ => Ok(()),
    }
}

type Holder = (SessionId, u64);

fn set_flock(view: &View<'_>, ino: Ino, holder: Holder, row: Option<FlockRow>) -> Read<()> {
    let mut rows = view.flocks(ino)?;
    rows.retain(|row| (row.session, row.owner) != holder);
    rows.extend(row);
    put_list(view, keys::flocks(ino), locks::flocks_value(&rows));
    Ok(())
}

fn set_plock(view: &View<'_>, ino: Ino, holder: Holder, row: Option<PlockRow>) -> Read<()> {
    let mut rows = view.plocks(ino)?;
    rows.retain(|row| (row.session, row.owner) != holder);
    rows.extend(row);
    put_list(view, keys::plocks(ino), locks::plocks_value(&rows));
    Ok(())
}

/// Writes a list of locks; an empty one goes.
pub(super) fn put_list(view: &View<'_>, key: Key, value: Vec<u8>) {
    if value.is_empty() {
        view.delete(key);
    } else {
        view.put(key, value);
    }
}

/// What a mutation of this slice's references alone is.
pub(super) fn as_dereference(mutation: &Mutation) -> Option<(SliceId, u32)> {
    match mutation {
        Mutation::RefSlice {
            id,
            size,
            delta: -1,
        } => Some((*id, *size)),
        _ => None,
    }
}
