//! A plan as the program that `write.lua` runs.

use std::collections::BTreeMap;

use carafe_types::{Attr, CHUNK_SIZE, Ino, SessionId, Slice, Timestamp};

use super::{
    keys::{self, Key},
    raw::{Guard, Item, Raw},
};
use crate::{OpKey, ops::Mutation, sqlite::rows::delayed_list};

/// Keys and arguments, in the order in which the script takes them.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) keys: Vec<Key>,
    pub(super) arguments: Vec<Vec<u8>>,
}

/// What a mutation leaves behind, where that is known without asking.
pub(super) type Outcome = (Item, Option<Raw>);

impl Program {
    /// A program that checks `guards` and applies `mutations`. `record` is the
    /// operation's key and its sealed answer.
    pub(super) fn new(
        guards: &[(Item, Guard, Raw)],
        mutations: &[Mutation],
        record: Option<(OpKey, Vec<u8>)>,
    ) -> Self {
        let mut program = Self::default();
        program.record_key(record.as_ref().map(|(key, _)| *key));
        program.guards(guards);
        program.limits(mutations);
        program.steps(mutations);
        if let Some((_, answer)) = record {
            program.argument(answer);
        }
        program
    }

    fn argument(&mut self, argument: impl Into<Vec<u8>>) -> &mut Self {
        self.arguments.push(argument.into());
        self
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers, and references to them"
    )]
    fn number(&mut self, number: impl ToString) -> &mut Self {
        self.argument(number.to_string())
    }

    fn key(&mut self, key: impl Into<Key>) -> &mut Self {
        self.keys.push(key.into());
        self
    }

    fn record_key(&mut self, key: Option<OpKey>) {
        let Some(OpKey {
            session,
            slot,
            sequence,
        }) = key
        else {
            self.argument("-");
            return;
        };
        self.argument("R")
            .key(keys::operations(session))
            .number(slot)
            .argument(sequence.to_be_bytes());
    }

    fn guards(&mut self, guards: &[(Item, Guard, Raw)]) {
        self.number(guards.len());
        for (item, guard, raw) in guards {
            self.argument(item.letter(*guard)).key(item.key().clone());
            match item {
                Item::Field(_, field) => drop(self.argument(field.clone())),
                Item::Front(_, count) => drop(self.number(count)),
                _ => {}
            }
            self.argument(raw.comparable(*guard));
        }
    }

    /// The limits that growth must keep; what one plan adds to a quota in several
    /// steps counts as one.
    fn limits(&mut self, mutations: &[Mutation]) {
        let mut volume: Option<[i128; 4]> = None;
        let mut quotas: BTreeMap<Ino, (i64, i64)> = BTreeMap::new();
        for mutation in mutations {
            match mutation {
                Mutation::Use {
                    space,
                    inodes,
                    capacity,
                    max_inodes,
                } => {
                    let [old_space, old_inodes, ..] = volume.unwrap_or_default();
                    let sum = [
                        old_space + i128::from(*space),
                        old_inodes + i128::from(*inodes),
                    ];
                    volume = Some([
                        sum[0],
                        sum[1],
                        i128::from(*capacity),
                        i128::from(*max_inodes),
                    ]);
                }
                Mutation::UseQuota { dir, space, inodes } => {
                    let sum = quotas.entry(*dir).or_default();
                    *sum = (sum.0 + space, sum.1 + inodes);
                }
                _ => {}
            }
        }
        quotas.retain(|_, (space, inodes)| *space > 0 || *inodes > 0);
        let volume = volume.filter(|[space, inodes, capacity, most]| {
            (*space > 0 && *capacity > 0) || (*inodes > 0 && *most > 0)
        });
        self.number(usize::from(volume.is_some()) + quotas.len());
        if let Some(figures) = volume {
            self.argument("u")
                .key(keys::USED_SPACE)
                .key(keys::TOTAL_INODES);
            for figure in figures {
                self.number(figure);
            }
        }
        for (dir, (space, inodes)) in quotas {
            self.argument("q").number(dir).number(space).number(inodes);
            self.key(keys::QUOTA)
                .key(keys::QUOTA_SPACE)
                .key(keys::QUOTA_INODES);
        }
    }

    fn steps(&mut self, mutations: &[Mutation]) {
        let mut steps = Steps::default();
        for mutation in mutations {
            steps.mutation(mutation);
        }
        self.number(steps.count);
        self.keys.append(&mut steps.program.keys);
        self.arguments.append(&mut steps.program.arguments);
    }
}

/// The steps of a program, counted.
#[derive(Default)]
struct Steps {
    program: Program,
    count: usize,
}

impl Steps {
    /// One command on one key.
    fn command<const N: usize>(
        &mut self,
        name: &str,
        key: impl Into<Key>,
        arguments: [Vec<u8>; N],
    ) {
        self.count += 1;
        self.program.argument("c").number(N).argument(name);
        self.program.arguments.extend(arguments);
        self.program.key(key);
    }

    fn add(&mut self, key: impl Into<Key>, delta: i64) {
        if delta != 0 {
            self.command("INCRBY", key, [text(delta)]);
        }
    }

    /// Adds to fields of several hashes, if the first one has the field.
    fn add_fields(&mut self, field: Ino, deltas: &[(&str, i64)]) {
        self.count += 1;
        self.program
            .argument("a")
            .number(field)
            .number(deltas.len());
        for (key, delta) in deltas {
            self.program.key(*key).number(delta);
        }
    }

    fn mutation(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::SetSetting { json } => {
                self.command("SET", keys::SETTING, [json.as_bytes().to_vec()]);
            }
            // An absent counter is one that starts.
            Mutation::InitCounters => {}
            Mutation::SetCounter { counter, value } => {
                self.command("SET", keys::counter(*counter), [text(value)]);
            }
            Mutation::NewNode { ino, attr } | Mutation::SetNode { ino, attr } => {
                self.command("SET", keys::node(*ino), [attr.encode()]);
            }
            Mutation::DropNode { ino } => self.command("DEL", keys::node(*ino), []),
            Mutation::TouchDir { ino, nlink, time } => {
                self.count += 1;
                self.program
                    .argument("t")
                    .key(keys::node(*ino))
                    .number(nlink)
                    .argument(time_bytes(*time));
            }
            Mutation::SetEntry {
                parent,
                name,
                kind,
                ino,
            } => {
                self.command(
                    "HSET",
                    keys::dir(*parent),
                    [name.clone(), keys::entry_value(*kind, *ino)],
                );
            }
            Mutation::DropEntry { parent, name } => {
                self.command("HDEL", keys::dir(*parent), [name.clone()]);
            }
            Mutation::CountParent { ino, parent, delta } => {
                self.command("HINCRBY", keys::parents(*ino), [text(parent), text(delta)]);
            }
            Mutation::DropParents { ino } => self.command("DEL", keys::parents(*ino), []),
            Mutation::SetSymlink { ino, target } => {
                self.command("SET", keys::symlink(*ino), [target.clone()]);
            }
            Mutation::DropSymlink { ino } => self.command("DEL", keys::symlink(*ino), []),
            Mutation::SetXattr { ino, name, value } => {
                self.command("HSET", keys::xattrs(*ino), [name.clone(), value.clone()]);
            }
            Mutation::DropXattr { ino, name } => {
                self.command("HDEL", keys::xattrs(*ino), [name.clone()]);
            }
            Mutation::DropXattrs { ino } => self.command("DEL", keys::xattrs(*ino), []),
            Mutation::InitDirStat { .. }
            | Mutation::DirStat { .. }
            | Mutation::DropDirStat { .. }
            | Mutation::Use { .. }
            | Mutation::UseQuota { .. }
            | Mutation::SetQuota { .. }
            | Mutation::DropQuota { .. } => self.usage(mutation),
            Mutation::AppendSlice { .. }
            | Mutation::ReplaceSlices { .. }
            | Mutation::ZeroChunks { .. }
            | Mutation::NewSlice { .. }
            | Mutation::RefSlice { .. }
            | Mutation::DropSlice { .. }
            | Mutation::DropChunk { .. }
            | Mutation::AddDelayed { .. }
            | Mutation::DropDelayed { .. }
            | Mutation::Sustain { .. }
            | Mutation::Unsustain { .. }
            | Mutation::AddDeleted { .. }
            | Mutation::DropDeleted { .. } => self.data(mutation),
            Mutation::SetFlock { .. }
            | Mutation::DropFlock { .. }
            | Mutation::SetPlock { .. }
            | Mutation::DropPlock { .. } => {
                self.lock(mutation);
            }
            Mutation::SetSession { .. }
            | Mutation::ExtendSession { .. }
            | Mutation::DropSession { .. }
            | Mutation::SetVolume { .. }
            | Mutation::DropVolume { .. } => self.book(mutation),
        }
    }

    fn usage(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::InitDirStat { dir } => {
                for key in [keys::DIR_LENGTH, keys::DIR_SPACE, keys::DIR_INODES] {
                    self.command("HSET", key, [text(dir), text(0)]);
                }
            }
            Mutation::DirStat {
                dir,
                length,
                space,
                inodes,
            } => {
                let deltas = [
                    (keys::DIR_SPACE, *space),
                    (keys::DIR_LENGTH, *length),
                    (keys::DIR_INODES, *inodes),
                ];
                self.add_fields(*dir, &deltas);
            }
            Mutation::DropDirStat { dir } => {
                for key in [keys::DIR_LENGTH, keys::DIR_SPACE, keys::DIR_INODES] {
                    self.command("HDEL", key, [text(dir)]);
                }
            }
            Mutation::Use { space, inodes, .. } => {
                self.add(keys::USED_SPACE, *space);
                self.add(keys::TOTAL_INODES, *inodes);
            }
            Mutation::UseQuota { dir, space, inodes } => {
                let deltas = [
                    (keys::QUOTA, 0),
                    (keys::QUOTA_SPACE, *space),
                    (keys::QUOTA_INODES, *inodes),
                ];
                self.add_fields(*dir, &deltas);
            }
            Mutation::SetQuota { dir, quota, used } => {
                let limits = [
                    quota.max_bytes.to_be_bytes(),
                    quota.max_inodes.to_be_bytes(),
                ]
                .concat();
                self.command("HSET", keys::QUOTA, [text(dir), limits]);
                if let Some((space, inodes)) = used {
                    self.command("HSET", keys::QUOTA_SPACE, [text(dir), text(space)]);
                    self.command("HSET", keys::QUOTA_INODES, [text(dir), text(inodes)]);
                }
            }
            Mutation::DropQuota { dir } => {
                for key in [keys::QUOTA, keys::QUOTA_SPACE, keys::QUOTA_INODES] {
                    self.command("HDEL", key, [text(dir)]);
                }
            }
            _ => {}
        }
    }

    fn data(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::AppendSlice { ino, index, slice } => {
                self.command(
                    "RPUSH",
                    keys::chunk(*ino, *index),
                    [slice.encode().to_vec()],
                );
            }
            Mutation::ReplaceSlices {
                ino,
                index,
                count,
                by,
            } => self.replace(keys::chunk(*ino, *index), *count, by),
            Mutation::ZeroChunks { ino, after, before } => {
                let hole = Slice::hole(0, CHUNK_SIZE as u32).encode();
                for index in after + 1..*before {
                    self.command("RPUSHX", keys::chunk(*ino, index), [hole.to_vec()]);
                }
            }
            Mutation::RefSlice { id, size, delta } => {
                self.command(
                    "HINCRBY",
                    keys::SLICE_REFS,
                    [keys::slice(*id, *size), text(delta)],
                );
            }
            Mutation::DropSlice { id, size } => {
                self.command("HDEL", keys::SLICE_REFS, [keys::slice(*id, *size)]);
            }
            Mutation::DropChunk { ino, index } => {
                self.command("DEL", keys::chunk(*ino, *index), []);
            }
            Mutation::AddDelayed { key, slices } => {
                self.command(
                    "HSET",
                    keys::DELAYED,
                    [keys::delayed(*key), delayed_list(slices)],
                );
            }
            Mutation::DropDelayed { key } => {
                self.command("HDEL", keys::DELAYED, [keys::delayed(*key)]);
            }
            Mutation::Sustain { session, ino } => {
                self.command("SADD", keys::sustained(*session), [text(ino)]);
            }
            Mutation::Unsustain { session, ino } => {
                self.command("SREM", keys::sustained(*session), [text(ino)]);
            }
            Mutation::AddDeleted { ino, length, time } => {
                self.command(
                    "ZADD",
                    keys::DELETED,
                    [text(time.secs), keys::deleted(*ino, *length)],
                );
            }
            Mutation::DropDeleted { ino, length } => {
                self.command("ZREM", keys::DELETED, [keys::deleted(*ino, *length)]);
            }
            // NewSlice: no record means one reference.
            _ => {}
        }
    }

    /// As the peer does: cuts the front off, and pushes what stands there instead.
    fn replace(&mut self, key: Key, count: usize, by: &[Slice]) {
        self.command("LTRIM", key.clone(), [text(count), text(-1)]);
        for slice in by.iter().rev() {
            self.command("LPUSH", key.clone(), [slice.encode().to_vec()]);
        }
    }

    fn lock(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::SetFlock {
                ino,
                session,
                owner,
                write,
            } => {
                let kind = if *write { "W" } else { "R" };
                self.set_lock(keys::flocks(*ino), *session, *owner, kind.into());
            }
            Mutation::SetPlock {
                ino,
                session,
                owner,
                records,
            } => {
                self.set_lock(keys::plocks(*ino), *session, *owner, records.clone());
            }
            Mutation::DropFlock {
                ino,
                session,
                owner,
            } => self.drop_lock(keys::flocks(*ino), *session, *owner),
            Mutation::DropPlock {
                ino,
                session,
                owner,
            } => self.drop_lock(keys::plocks(*ino), *session, *owner),
            _ => {}
        }
    }

    fn set_lock(&mut self, key: Key, session: SessionId, owner: u64, value: Vec<u8>) {
        // The set holds keys as the server knows them.
        self.count += 1;
        self.program
            .argument("j")
            .key(keys::locked(session))
            .key(key.clone());
        self.command("HSET", key, [keys::owner(session, owner), value]);
    }

    fn drop_lock(&mut self, key: Key, session: SessionId, owner: u64) {
        self.count += 1;
        self.program
            .argument("o")
            .key(key)
            .key(keys::locked(session))
            .argument(keys::owner(session, owner));
    }

    fn book(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::SetSession {
                session,
                expires,
                info,
            } => {
                self.command("ZADD", keys::ALL_SESSIONS, [text(expires), text(session)]);
                self.command(
                    "HSET",
                    keys::SESSION_INFOS,
                    [text(session), info.as_bytes().to_vec()],
                );
            }
            Mutation::ExtendSession { session, expires } => {
                self.command("ZADD", keys::ALL_SESSIONS, [text(expires), text(session)]);
            }
            Mutation::DropSession { session } => {
                self.count += 1;
                self.program
                    .argument("x")
                    .key(keys::locked(*session))
                    .argument(format!("{session}_"));
                self.command("DEL", keys::sustained(*session), []);
                self.command("DEL", keys::operations(*session), []);
                self.command("HDEL", keys::SESSION_INFOS, [text(session)]);
                self.command("ZREM", keys::ALL_SESSIONS, [text(session)]);
            }
            Mutation::SetVolume { record } => {
                // A record of plain fields always has a JSON form.
                let json = serde_json::to_vec(record).unwrap_or_default();
                self.command("HSET", keys::VOLUMES, [record.id.as_bytes().to_vec(), json]);
                self.command(
                    "SADD",
                    keys::path(&record.path),
                    [record.id.as_bytes().to_vec()],
                );
            }
            Mutation::DropVolume { record } => {
                self.command("HDEL", keys::VOLUMES, [record.id.as_bytes().to_vec()]);
                self.command(
                    "SREM",
                    keys::path(&record.path),
                    [record.id.as_bytes().to_vec()],
                );
            }
            _ => {}
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "numbers, and references to them"
)]
fn text(value: impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn time_bytes(time: Timestamp) -> Vec<u8> {
    [&time.secs.to_be_bytes()[..], &time.nanos.to_be_bytes()].concat()
}

/// What is known to lie where after the mutations, for the next plan's guesses.
/// `before` are the values that the guards confirmed.
pub(super) fn outcomes(mutations: &[Mutation], before: &[(Item, Guard, Raw)]) -> Vec<Outcome> {
    mutations
        .iter()
        .filter_map(|mutation| outcome(mutation, before))
        .collect()
}

fn outcome(mutation: &Mutation, before: &[(Item, Guard, Raw)]) -> Option<Outcome> {
    Some(match mutation {
        Mutation::NewNode { ino, attr } | Mutation::SetNode { ino, attr } => (
            Item::Text(keys::node(*ino)),
            Some(Raw::Bytes(attr.encode())),
        ),
        Mutation::DropNode { ino } => (Item::Text(keys::node(*ino)), Some(Raw::Nothing)),
        Mutation::TouchDir { ino, nlink, time } => {
            let item = Item::Text(keys::node(*ino));
            let old = before
                .iter()
                .find(|(known, ..)| *known == item)
                .and_then(|(_, _, raw)| raw.bytes());
            let touched = old.and_then(Attr::decode).map(|mut attr| {
                attr.nlink = attr.nlink.saturating_add_signed(*nlink);
                (attr.mtime, attr.ctime) = (*time, *time);
                Raw::Bytes(attr.encode())
            });
            (item, touched)
        }
        Mutation::SetEntry {
            parent,
            name,
            kind,
            ino,
        } => {
            let raw = Raw::Bytes(keys::entry_value(*kind, *ino));
            (Item::Field(keys::dir(*parent), name.clone()), Some(raw))
        }
        Mutation::DropEntry { parent, name } => (
            Item::Field(keys::dir(*parent), name.clone()),
            Some(Raw::Nothing),
        ),
        Mutation::SetXattr { ino, name, .. } | Mutation::DropXattr { ino, name } => {
            (Item::Field(keys::xattrs(*ino), name.clone()), None)
        }
        Mutation::SetSetting { .. } => (Item::Text(keys::SETTING.into()), None),
        Mutation::SetCounter { counter, .. } => (Item::Text(keys::counter(*counter)), None),
        Mutation::SetQuota { dir, .. } | Mutation::DropQuota { dir } => (
            Item::Field(keys::QUOTA.into(), dir.to_string().into_bytes()),
            None,
        ),
        Mutation::RefSlice { id, size, .. } | Mutation::DropSlice { id, size } => (
            Item::Field(keys::SLICE_REFS.into(), keys::slice(*id, *size)),
            None,
        ),
        _ => return None,
    })
}
