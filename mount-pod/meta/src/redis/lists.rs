//! Lists that are no part of a plan.

use std::time::Duration;

use carafe_types::{Acl, CHUNK_SIZE, Error, Ino, Result, SessionId, Slice, SliceId, Timestamp};
use redis::{Cmd, Value};

use super::{
    keys,
    raw::{Item, Raw},
    space::stripped,
    wire::Wire,
};
use crate::{
    ChunkRecord, SessionRecord, VolumeRecord,
    engine::{Delayed, Deleted, RawEntry, Terms},
    ops::DelayedKey,
    sqlite::rows::delayed_slices,
};

/// How many a scan's step looks at.
const STEP: usize = 2000;
/// Chunks behind a file's end that are tried: a cut leaves them.
const BEHIND: u64 = 64;

/// Walks a SCAN, HSCAN …: `command` of a cursor, `visit` of each answer's parts,
/// which says whether to go on.
async fn scan(
    wire: &Wire,
    terms: Terms,
    command: impl Fn(&[u8]) -> Cmd,
    mut visit: impl FnMut(&Raw) -> Result<bool>,
) -> Result<()> {
    let mut cursor = b"0".to_vec();
    loop {
        let Value::Array(parts) = wire.steady(terms, &command(&cursor)).await? else {
            return Err(Error::Io("redis: a scan's answer is not readable".into()));
        };
        let mut parts = parts.into_iter();
        let next = Raw::from_value(parts.next().unwrap_or_default());
        if !visit(&Raw::from_value(parts.next().unwrap_or_default()))? {
            return Ok(());
        }
        cursor = next.bytes().unwrap_or(b"0").to_vec();
        if cursor == b"0" {
            return Ok(());
        }
    }
}

fn hscan(key: impl Into<keys::Key>) -> impl Fn(&[u8]) -> Cmd {
    let key = key.into();
    move |cursor| {
        let mut command = redis::cmd("HSCAN");
        command.arg(&key).arg(cursor).arg("COUNT").arg(STEP);
        command
    }
}

pub(super) async fn scan_dir(
    wire: &Wire,
    terms: Terms,
    dir: Ino,
    visit: &mut (dyn FnMut(RawEntry) + Send),
) -> Result<()> {
    scan(wire, terms, hscan(keys::dir(dir)), |raw| {
        for (name, value) in raw.pairs() {
            if let Some(entry) = keys::parse_entry(value) {
                visit(RawEntry {
                    name: name.to_vec(),
                    ino: entry.ino,
                    kind: entry.kind,
                });
            }
        }
        Ok(true)
    })
    .await
}

pub(super) async fn nodes(wire: &Wire, terms: Terms, inos: &[Ino]) -> Result<Vec<Raw>> {
    let mut found = Vec::with_capacity(inos.len());
    for inos in inos.chunks(STEP) {
        let mut command = redis::cmd("MGET");
        for ino in inos {
            command.arg(keys::node(*ino));
        }
        match wire.steady(terms, &command).await? {
            Value::Array(values) => found.extend(values.into_iter().map(Raw::from_value)),
            _ => return Err(Error::Io("redis: MGET's answer is not readable".into())),
        }
    }
    Ok(found)
}

pub(super) async fn chunks(wire: &Wire, terms: Terms, ino: Ino, length: u64) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut end = length.div_ceil(CHUNK_SIZE) + BEHIND;
    let mut at = 0;
    while at < end {
        let to = end.min(at + STEP as u64);
        let mut pipeline = redis::Pipeline::with_capacity(STEP);
        for index in at..to {
            pipeline.cmd("EXISTS").arg(keys::chunk(ino, index as u32));
        }
        let there = wire.steady_pipeline(terms, &pipeline).await?;
        let indexes = (at..to)
            .zip(there)
            .filter(|(_, value)| *value == Value::Int(1))
            .map(|(index, _)| index);
        for index in indexes {
            end = end.max(index + BEHIND);
            found.push(index as u32);
        }
        at = to;
    }
    Ok(found)
}

pub(super) async fn scan_chunks(wire: &Wire, terms: Terms, ino: Ino) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let command = |cursor: &[u8]| {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("c{ino}_*"))
            .arg("COUNT")
            .arg(STEP * 5);
        command
    };
    scan(wire, terms, command, |raw| {
        let index = |key: &Vec<u8>| {
            keys::number::<u32>(&key[key.iter().position(|&byte| byte == b'_')? + 1..])
        };
        found.extend(raw.parts().iter().filter_map(index));
        Ok(true)
    })
    .await?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Every chunk of the volume. SCAN shows each key that is there all the time; the
/// lists are read a step's at a time.
pub(super) async fn scan_all_chunks(
    wire: &Wire,
    patience: Duration,
    visit: &mut (dyn FnMut(ChunkRecord) + Send),
) -> Result<()> {
    let mut cursor = b"0".to_vec();
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(&cursor).arg("MATCH").arg("c*_*");
        command.arg("COUNT").arg(STEP * 5);
        let answer = wire.steady(Terms::within(patience), &command).await?;
        let Value::Array(parts) = answer else {
            return Err(Error::Io("redis: a scan's answer is not readable".into()));
        };
        let mut parts = parts.into_iter().map(Raw::from_value);
        let next = parts.next().unwrap_or(Raw::Nothing);
        let names = parts.next().unwrap_or(Raw::Nothing);
        let chunks = names
            .parts()
            .iter()
            .filter_map(|name| keys::parse_chunk(stripped(name, &wire.prefix)?));
        show_chunks(wire, patience, &chunks.collect::<Vec<_>>(), visit).await?;
        cursor = next.bytes().unwrap_or(b"0").to_vec();
        if cursor == b"0" {
            return Ok(());
        }
    }
}

async fn show_chunks(
    wire: &Wire,
    patience: Duration,
    chunks: &[(Ino, u32)],
    visit: &mut (dyn FnMut(ChunkRecord) + Send),
) -> Result<()> {
    for chunks in chunks.chunks(STEP) {
        let mut pipeline = redis::Pipeline::with_capacity(chunks.len());
        for (ino, index) in chunks {
            let key = keys::chunk(*ino, *index);
            pipeline.cmd("LRANGE").arg(key).arg(0).arg(-1);
        }
        let lists = wire
            .steady_pipeline(Terms::within(patience), &pipeline)
            .await?;
        for (&(ino, index), list) in chunks.iter().zip(lists) {
            let torn = |error| Error::Io(format!("inode {ino}, chunk {index}: {error}"));
            let list = Raw::from_value(list).parts().concat();
            let slices = Slice::decode_list(&list).map_err(torn)?;
            visit(ChunkRecord { ino, index, slices });
        }
    }
    Ok(())
}

pub(super) async fn sessions(wire: &Wire, terms: Terms) -> Result<Vec<SessionRecord>> {
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("ZRANGE")
        .arg(keys::ALL_SESSIONS)
        .arg(0)
        .arg(-1)
        .arg("WITHSCORES");
    pipeline.cmd("HGETALL").arg(keys::SESSION_INFOS);
    let mut values = wire.steady_pipeline(terms, &pipeline).await?.into_iter();
    let scores = Raw::from_value(values.next().unwrap_or_default());
    let infos = Raw::from_value(values.next().unwrap_or_default());
    let record = |(id, score): (&[u8], &[u8])| {
        let info = infos
            .pairs()
            .find(|(session, _)| *session == id)
            .and_then(|(_, info)| serde_json::from_slice(info).ok());
        let secs = keys::number::<f64>(score)? as i64;
        Some(SessionRecord {
            id: SessionId(keys::number(id)?),
            expires: Timestamp { secs, nanos: 0 },
            info,
        })
    };
    Ok(scores.pairs().filter_map(record).collect())
}

pub(super) async fn deleted(
    wire: &Wire,
    terms: Terms,
    before: i64,
    limit: usize,
) -> Result<Vec<Deleted>> {
    let mut command = redis::cmd("ZRANGEBYSCORE");
    command
        .arg(keys::DELETED)
        .arg("-inf")
        .arg(before)
        .arg("LIMIT")
        .arg(0)
        .arg(limit);
    let raw = Raw::from_value(wire.steady(terms, &command).await?);
    let parse = |member: &Vec<u8>| {
        let (ino, length) = std::str::from_utf8(member).ok()?.split_once(':')?;
        Some(Deleted {
            ino: Ino(ino.parse().ok()?),
            length: length.parse().ok()?,
        })
    };
    Ok(raw.parts().iter().filter_map(parse).collect())
}

pub(super) async fn delayed(
    wire: &Wire,
    terms: Terms,
    before: i64,
    limit: usize,
) -> Result<Vec<Delayed>> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    scan(wire, terms, hscan(keys::DELAYED), |raw| {
        for (field, list) in raw.pairs() {
            let key = std::str::from_utf8(field)
                .ok()
                .and_then(|field| field.split_once('_'));
            let Some((Ok(id), Ok(time))) = key.map(|(id, time)| (id.parse(), time.parse())) else {
                continue;
            };
            if time < before && found.len() < limit {
                found.push(Delayed {
                    key: DelayedKey { id, time },
                    slices: delayed_slices(list),
                });
            }
        }
        Ok(found.len() < limit)
    })
    .await?;
    Ok(found)
}

pub(super) async fn dead_slices(
    wire: &Wire,
    terms: Terms,
    limit: usize,
) -> Result<Vec<(SliceId, u32)>> {
    let mut found = Vec::new();
    scan(wire, terms, hscan(keys::SLICE_REFS), |raw| {
        let dead = raw.pairs().filter(|(_, refs)| refs.starts_with(b"-"));
        found.extend(dead.filter_map(|(field, _)| keys::parse_slice(field)));
        Ok(found.len() < limit)
    })
    .await?;
    found.sort_unstable();
    found.dedup();
    found.truncate(limit);
    Ok(found)
}

pub(super) async fn volumes(
    wire: &Wire,
    terms: Terms,
    after: &str,
    limit: usize,
) -> Result<Vec<VolumeRecord>> {
    let mut found: Vec<VolumeRecord> = Vec::new();
    scan(wire, terms, hscan(keys::VOLUMES), |raw| {
        for (id, json) in raw.pairs().filter(|(id, _)| *id > after.as_bytes()) {
            let damaged = |_| {
                Error::Io(format!(
                    "the record of volume {} is damaged",
                    String::from_utf8_lossy(id)
                ))
            };
            found.push(serde_json::from_slice(json).map_err(damaged)?);
        }
        // Only the first of a page are kept: memory stays within two steps.
        if found.len() > limit.saturating_add(STEP) {
            trim(&mut found, limit);
        }
        Ok(true)
    })
    .await?;
    trim(&mut found, limit);
    Ok(found)
}

fn trim(found: &mut Vec<VolumeRecord>, limit: usize) {
    found.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    found.dedup_by(|one, other| one.id == other.id);
    found.truncate(limit);
}

pub(super) async fn preflight(wire: &Wire, terms: Terms) -> Result<Vec<String>> {
    let raw = Raw::from_value(
        wire.steady(terms, redis::cmd("INFO").arg("everything"))
            .await?,
    );
    let info = String::from_utf8_lossy(raw.bytes().unwrap_or_default()).into_owned();
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let mut warnings = Vec::new();
    if field("aof_enabled") == Some("0") {
        warnings.push("redis keeps no append-only file: what was written since its last snapshot is lost with it; set `appendonly yes`".into());
    }
    match field("maxmemory_policy") {
        Some("noeviction") | None => {}
        Some(policy) => warnings.push(format!(
            "redis may evict keys (maxmemory-policy {policy}), which destroys the file system; set `maxmemory-policy noeviction`"
        )),
    }
    Ok(warnings)
}

/// An access control list.
pub(super) async fn acl(wire: &Wire, terms: Terms, number: u32) -> Result<Option<Acl>> {
    let item = Item::Field(keys::ACLS.into(), number.to_string().into_bytes());
    let raw = Raw::from_value(wire.steady(terms, &item.command()).await?);
    Ok(raw.bytes().and_then(Acl::decode))
}

/// Its number; it is put on record if it is not. A retry that finds the number used
/// takes the next one.
pub(super) async fn acl_number(wire: &Wire, terms: Terms, list: &Acl) -> Result<u32> {
    let bytes = list.encode();
    let known = Item::Hash(keys::ACLS.into());
    let known = Raw::from_value(wire.steady(terms, &known.command()).await?);
    let found = known.pairs().find(|(_, list)| *list == bytes.as_slice());
    if let Some(number) = found.and_then(|(number, _)| keys::number(number)) {
        return Ok(number);
    }
    let damaged = || Error::Io("redis: the counter aclMaxId is damaged".into());
    let mut take = redis::cmd("INCR");
    take.arg(keys::LAST_ACL);
    let Value::Int(number) = wire.steady(terms, &take).await? else {
        return Err(damaged());
    };
    let mut add = redis::cmd("HSET");
    add.arg(keys::ACLS).arg(number).arg(bytes);
    wire.steady(terms, &add).await?;
    u32::try_from(number).map_err(|_| damaged())
}
