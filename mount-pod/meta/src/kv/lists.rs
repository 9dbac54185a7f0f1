//! Lists that are no part of a plan: ranges, a page at a time.

use std::{
    ops::{ControlFlow, Range},
    time::Duration,
};

use bytes::Bytes;
use carafe_types::{Attr, Error, Ino, Result, SessionId, Slice, SliceId, Timestamp};

use super::{
    keys,
    known::after,
    steady,
    store::{Found, Key, Pair, Query, Seen, Store},
};
use crate::{
    ChunkRecord, SessionRecord, VolumeRecord,
    engine::{Delayed, Deleted, RawEntry, Terms},
    retry::{Failure, Pause},
    sqlite::rows::delayed_slices,
};

/// Keys of a page.
const PAGE: usize = 1000;
/// Values of a page that may be long.
const LONG: usize = 100;
/// Of a list of slices that wait, so many are taken off at a time.
pub(super) const WAITING: usize = 48;

/// An answer that does not fit its question.
pub(super) fn unreadable() -> Error {
    Error::Io("the store's answer is to another question".into())
}

/// The first keys of a range, and whether there are more.
pub(super) async fn page<S: Store>(
    store: &S,
    terms: Terms,
    range: &Range<Key>,
    limit: usize,
    keys_only: bool,
) -> Result<(Vec<Pair>, bool)> {
    let query = Query::Scan {
        range: range.clone(),
        limit,
        keys_only,
    };
    match steady(store, terms, &[query]).await?.into_iter().next() {
        Some(Found::Page(pairs, more)) => Ok((pairs, more)),
        _ => Err(unreadable()),
    }
}

/// Shows a range key by key, as each page finds it, until `visit` breaks.
pub(super) async fn scan<S: Store>(
    store: &S,
    terms: Terms,
    mut range: Range<Key>,
    (limit, keys_only): (usize, bool),
    mut visit: impl FnMut(&[u8], Bytes) -> Result<ControlFlow<()>>,
) -> Result<()> {
    loop {
        let (pairs, more) = page(store, terms, &range, limit, keys_only).await?;
        let next = pairs.last().map(|(key, _)| after(key));
        for (key, seen) in pairs {
            if visit(&key, seen.value.unwrap_or_default())?.is_break() {
                return Ok(());
            }
        }
        match next {
            Some(next) if more => range.start = next,
            _ => return Ok(()),
        }
    }
}

/// Pages of values.
pub(super) const VALUES: (usize, bool) = (PAGE, false);
const KEYS: (usize, bool) = (PAGE, true);

pub(super) async fn scan_dir<S: Store>(
    store: &S,
    terms: Terms,
    dir: Ino,
    visit: &mut (dyn FnMut(RawEntry) + Send),
) -> Result<()> {
    scan(store, terms, keys::entries(dir), VALUES, |key, value| {
        if let Some(entry) = keys::parse_entry(&value) {
            visit(RawEntry {
                name: keys::part_name(key).to_vec(),
                ino: entry.ino,
                kind: entry.kind,
            });
        }
        Ok(ControlFlow::Continue(()))
    })
    .await
}

pub(super) async fn nodes<S: Store>(
    store: &S,
    terms: Terms,
    inos: &[Ino],
) -> Result<Vec<Option<Attr>>> {
    let mut nodes = Vec::with_capacity(inos.len());
    for inos in inos.chunks(PAGE) {
        let queries: Vec<_> = inos
            .iter()
            .map(|ino| Query::Get(keys::node(*ino)))
            .collect();
        for found in steady(store, terms, &queries).await? {
            let Found::One(seen) = found else {
                return Err(unreadable());
            };
            nodes.push(seen.value.and_then(|value| Attr::decode(&value)));
        }
    }
    Ok(nodes)
}

/// The indexes of the chunks in a range of one file's.
pub(super) async fn chunks<S: Store>(
    store: &S,
    terms: Terms,
    range: Range<Key>,
) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    scan(store, terms, range, KEYS, |key, _| {
        found.extend(keys::index(keys::part_name(key)));
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(found)
}

/// So often a scan begins anew, because the store has thrown away the state that it read.
const STATES: usize = 3;

/// Every chunk of the volume, from one state of the store: without that, a slice could be
/// missed that moves from a chunk ahead of the scan to one behind it. If the store keeps
/// no state for long enough, the last try takes each page as it is.
pub(super) async fn all_chunks<S: Store>(
    store: &S,
    patience: Duration,
    visit: &mut (dyn FnMut(ChunkRecord) + Send),
) -> Result<()> {
    let mut pause = Pause::default();
    for _ in 0..STATES {
        match chunks_of(store, patience, true, visit).await {
            Ok(()) => return Ok(()),
            Err(Failure::Lost(reason)) => pause.wait(Terms::within(patience), &reason).await?,
            Err(Failure::Final(error)) => return Err(error),
        }
    }
    Ok(chunks_of(store, patience, false, visit).await?)
}

/// Chunks lie among the other parts of their inodes.
async fn chunks_of<S: Store>(
    store: &S,
    patience: Duration,
    of_one_state: bool,
    visit: &mut (dyn FnMut(ChunkRecord) + Send),
) -> Result<(), Failure> {
    let (mut range, mut at) = (keys::under(*b"A"), None);
    loop {
        let query = Query::Scan {
            range: range.clone(),
            limit: PAGE,
            keys_only: false,
        };
        let (seen_at, mut found) = store.look(Terms::within(patience), at, &[query]).await?;
        let Some(Found::Page(pairs, more)) = found.pop() else {
            return Err(Failure::Final(unreadable()));
        };
        at = Some(seen_at).filter(|_| of_one_state);
        let next = pairs.last().map(|(key, _)| after(key));
        for (key, seen) in pairs {
            show_chunk(&key, &seen, visit).map_err(Failure::Final)?;
        }
        match next {
            Some(next) if more => range.start = next,
            _ => return Ok(()),
        }
    }
}

fn show_chunk(key: &[u8], seen: &Seen, visit: &mut (dyn FnMut(ChunkRecord) + Send)) -> Result<()> {
    let Some((ino, index)) = keys::parse_chunk(key) else {
        return Ok(());
    };
    let list = seen.value.as_deref().unwrap_or_default();
    let torn = |error| Error::Io(format!("inode {ino}, chunk {index}: {error}"));
    let slices = Slice::decode_list(list).map_err(torn)?;
    visit(ChunkRecord { ino, index, slices });
    Ok(())
}

pub(super) async fn sessions<S: Store>(store: &S, terms: Terms) -> Result<Vec<SessionRecord>> {
    let mut found = Vec::new();
    scan(store, terms, keys::under(*b"SE"), VALUES, |key, value| {
        let session = keys::take_u64(key.get(2..).unwrap_or_default());
        if let (Some((id, _)), Some([secs])) = (session, keys::numbers(&value)) {
            found.push(SessionRecord {
                id: SessionId(id),
                expires: Timestamp { secs, nanos: 0 },
                info: None,
            });
        }
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    for part in found.chunks_mut(LONG) {
        let info = |record: &SessionRecord| Query::Get(keys::session_info(record.id));
        let queries: Vec<_> = part.iter().map(info).collect();
        let infos = steady(store, terms, &queries).await?;
        for (record, info) in part.iter_mut().zip(infos) {
            if let Found::One(seen) = info {
                record.info = seen
                    .value
                    .and_then(|json| serde_json::from_slice(&json).ok());
            }
        }
    }
    Ok(found)
}

pub(super) async fn sustained<S: Store>(
    store: &S,
    terms: Terms,
    session: SessionId,
) -> Result<Vec<Ino>> {
    let range = keys::under(keys::sustained_of(session));
    let mut found = Vec::new();
    scan(store, terms, range, KEYS, |key, _| {
        found.extend(keys::take_ino(key.get(10..).unwrap_or_default()));
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(found)
}

/// The inodes under a letter whose locks `holds` finds.
pub(super) async fn locked<S: Store>(
    store: &S,
    terms: Terms,
    letter: &[u8; 1],
    holds: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Ino>> {
    let mut found = Vec::new();
    scan(
        store,
        terms,
        keys::under(*letter),
        (LONG, false),
        |key, value| {
            if holds(&value) {
                found.extend(keys::take_ino(key.get(1..).unwrap_or_default()));
            }
            Ok(ControlFlow::Continue(()))
        },
    )
    .await?;
    Ok(found)
}

pub(super) async fn quotas<S: Store>(store: &S, terms: Terms) -> Result<Vec<Ino>> {
    let mut found = Vec::new();
    scan(store, terms, keys::under(*b"QD"), KEYS, |key, _| {
        found.extend(keys::take_ino(key.get(2..).unwrap_or_default()));
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(found)
}

/// Whether a list with room for `limit` is full.
fn until<T>(found: &[T], limit: usize) -> ControlFlow<()> {
    if found.len() < limit {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

pub(super) async fn deleted<S: Store>(
    store: &S,
    terms: Terms,
    before: i64,
    limit: usize,
) -> Result<Vec<Deleted>> {
    let mut found = Vec::new();
    scan(store, terms, keys::under(*b"D"), VALUES, |key, value| {
        let file = keys::parse_deleted(key);
        let is_due = keys::numbers(&value).is_some_and(|[time]: [i64; 1]| time < before);
        if let Some((ino, length)) = file.filter(|_| is_due && found.len() < limit) {
            found.push(Deleted { ino, length });
        }
        Ok(until(&found, limit))
    })
    .await?;
    Ok(found)
}

pub(super) async fn delayed<S: Store>(
    store: &S,
    terms: Terms,
    before: i64,
    limit: usize,
) -> Result<Vec<Delayed>> {
    let mut found = Vec::new();
    // Keys begin with the time.
    let mut range = keys::under(*b"L");
    range.end = [&b"L"[..], &before.max(0).to_be_bytes()].concat();
    if limit == 0 || range.start >= range.end {
        return Ok(found);
    }
    scan(store, terms, range, (LONG, false), |key, list| {
        if let Some(key) = keys::parse_delayed(key) {
            let mut slices = delayed_slices(&list);
            slices.truncate(WAITING);
            found.push(Delayed { key, slices });
        }
        Ok(until(&found, limit))
    })
    .await?;
    Ok(found)
}

pub(super) async fn dead_slices<S: Store>(
    store: &S,
    terms: Terms,
    limit: usize,
) -> Result<Vec<(SliceId, u32)>> {
    let mut found = Vec::new();
    scan(store, terms, keys::under(*b"K"), VALUES, |key, refs| {
        if keys::sum(&refs).is_some_and(|refs| refs < 0) && found.len() < limit {
            found.extend(keys::parse_slice(key));
        }
        Ok(until(&found, limit))
    })
    .await?;
    Ok(found)
}

pub(super) async fn volumes<S: Store>(
    store: &S,
    terms: Terms,
    from: &str,
    limit: usize,
) -> Result<Vec<VolumeRecord>> {
    let mut found = Vec::new();
    let mut range = keys::under(*b"ZV");
    if !from.is_empty() {
        range.start = after(&keys::volume(from));
    }
    if limit == 0 {
        return Ok(found);
    }
    scan(store, terms, range, VALUES, |key, json| {
        let damaged = |_| {
            let id = String::from_utf8_lossy(key.get(2..).unwrap_or_default()).into_owned();
            Error::Io(format!("the record of volume {id} is damaged"))
        };
        found.push(serde_json::from_slice(&json).map_err(damaged)?);
        Ok(until(&found, limit))
    })
    .await?;
    Ok(found)
}
