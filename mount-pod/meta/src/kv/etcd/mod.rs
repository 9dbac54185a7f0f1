//! etcd as a store: reads at a revision, and transactions that compare the revision of
//! each key's last change.
//!
//! A look is one range or one read-only transaction; a commit is one transaction, which
//! answers what it found if a comparison fails.

mod dial;
mod proto;
mod target;
mod tls;
mod wire;

use std::{ops::Range, sync::Arc};

use carafe_types::{Error, Result, Secret};

use self::{
    proto::{
        Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RangeResponse, RequestOp,
        TxnRequest, TxnResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
    target::{Target, parse},
    wire::Wire,
};
use super::{
    Kv,
    store::{
        Commit, Found, Guard, Key, Limits, Pair, Query, Revision, Seen, Store, Transaction, Write,
    },
};
use crate::{
    Admin, ConnectError, ConnectOptions, RenewError,
    client::Client,
    engine::Terms,
    line::{self, Line},
    retry::Failure,
};

/// What its URLs begin with.
pub(crate) const SCHEME: &str = "etcd";
/// What one transaction of a server with default settings holds; the rest of a request
/// of 1.5 MiB frames the operations.
const LIMITS: Limits = Limits {
    operations: 128,
    bytes: 1_400_000,
    remedy: "make the change in smaller steps",
};
/// The file's size that etcd takes by default.
const QUOTA: i64 = 2 << 30;

/// A cluster, and the keys' prefix in it.
pub(crate) struct Etcd {
    wire: Wire,
    prefix: Vec<u8>,
}

/// A client of the etcd that `url` names.
pub(crate) async fn connect(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Arc<dyn Admin>, ConnectError> {
    let engine = open(url, password, options).await?;
    Ok(Arc::new(Client::new(engine)))
}

/// Opens the etcd that `url` names.
pub(crate) async fn open(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Kv<Etcd>, ConnectError> {
    let target = parse(url, password)?;
    let prefix = target.prefix.clone();
    let connection = line::Target::dial(&target, options.timeout).await?;
    let line = Line::new(target, connection, options.timeout);
    Ok(Kv::new(Etcd {
        wire: Wire { line },
        prefix,
    }))
}

impl Etcd {
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    fn range_request(&self, query: &Query, at: Option<Revision>) -> RangeRequest {
        let revision = at.map_or(0, |at| at.0 as i64);
        match query {
            Query::Get(key) => RangeRequest {
                key: self.key(key),
                revision,
                ..RangeRequest::default()
            },
            Query::Scan {
                range,
                limit,
                keys_only,
            } => RangeRequest {
                key: self.key(&range.start),
                range_end: self.key(&range.end),
                limit: *limit as i64,
                revision,
                keys_only: *keys_only,
            },
        }
    }

    fn found(&self, query: &Query, answer: RangeResponse) -> Found {
        match query {
            Query::Get(_) => {
                Found::One(answer.kvs.into_iter().next().map(seen).unwrap_or_default())
            }
            Query::Scan { .. } => {
                let pairs = answer.kvs.into_iter().map(|kv| self.pair(kv));
                Found::Page(pairs.collect(), answer.more)
            }
        }
    }

    fn pair(&self, kv: KeyValue) -> Pair {
        let key = kv.key.get(self.prefix.len()..).unwrap_or_default().to_vec();
        (key, seen(kv))
    }

    /// Answers up to a transaction's number of questions.
    async fn look_at(
        &self,
        terms: Terms,
        at: Option<Revision>,
        queries: &[Query],
    ) -> Result<(Revision, Vec<Found>), Failure> {
        let request = |query: &Query| self.range_request(query, at);
        if let [query] = queries {
            let answer = self.wire.range(terms, request(query)).await?;
            let now = revision(answer.header.as_ref());
            return Ok((at.unwrap_or(now), vec![self.found(query, answer)]));
        }
        let ranges = queries
            .iter()
            .map(|query| Request::RequestRange(request(query)));
        let transaction = TxnRequest {
            success: ranges.map(operation).collect(),
            ..TxnRequest::default()
        };
        let answer = self.wire.transaction(terms, transaction).await?;
        let now = revision(answer.header.as_ref());
        let answers = ranges_of(answer)?;
        let found = queries.iter().zip(answers);
        let found = found
            .map(|(query, answer)| self.found(query, answer))
            .collect();
        Ok((at.unwrap_or(now), found))
    }

    fn compares(&self, guard: &Guard, out: &mut Vec<Compare>) {
        let same = |key: &[u8], seen: &Seen| Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: self.key(key),
            target_union: Some(TargetUnion::ModRevision(seen.version as i64)),
            range_end: Vec::new(),
        };
        match guard {
            Guard::Same(key, seen) => out.push(same(key, seen)),
            Guard::Range { range, pairs, at } => {
                out.push(self.no_newer(range, *at));
                out.extend(pairs.iter().map(|(key, seen)| same(key, seen)));
            }
        }
    }

    /// Holds for a range in which no key was changed after `at`, or which is empty.
    fn no_newer(&self, range: &Range<Key>, at: Revision) -> Compare {
        Compare {
            result: CompareResult::Less.into(),
            target: CompareTarget::Mod.into(),
            key: self.key(&range.start),
            target_union: Some(TargetUnion::ModRevision(at.0 as i64 + 1)),
            range_end: self.key(&range.end),
        }
    }

    fn write(&self, (key, value): &Write) -> RequestOp {
        let key = self.key(key);
        operation(match value {
            Some(value) => Request::RequestPut(PutRequest {
                key,
                value: value.to_vec(),
            }),
            None => Request::RequestDeleteRange(DeleteRangeRequest { key }),
        })
    }
}

fn operation(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

fn seen(kv: KeyValue) -> Seen {
    Seen {
        value: Some(kv.value.into()),
        version: kv.mod_revision as u64,
    }
}

fn revision(header: Option<&proto::ResponseHeader>) -> Revision {
    Revision(header.map_or(0, |header| header.revision as u64))
}

fn ranges_of(answer: TxnResponse) -> Result<Vec<RangeResponse>, Failure> {
    let range =
        |answer: proto::ResponseOp| answer.response.map(|Response::ResponseRange(range)| range);
    let ranges: Option<Vec<_>> = answer.responses.into_iter().map(range).collect();
    let unreadable = || Failure::Final(Error::Io("etcd: an answer is not readable".into()));
    ranges.ok_or_else(unreadable)
}

impl Store for Etcd {
    fn name(&self) -> String {
        self.wire.line.place().to_owned()
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    async fn look(
        &self,
        terms: Terms,
        at: Option<Revision>,
        queries: &[Query],
    ) -> Result<(Revision, Vec<Found>), Failure> {
        let (mut at, mut all) = (at, Vec::with_capacity(queries.len()));
        for queries in queries.chunks(LIMITS.operations) {
            let (seen_at, found) = self.look_at(terms, at, queries).await?;
            at = Some(seen_at);
            all.extend(found);
        }
        Ok((at.unwrap_or(Revision(0)), all))
    }

    async fn commit(&self, terms: Terms, transaction: &Transaction) -> Result<Commit, Failure> {
        let Transaction { guards, writes } = transaction;
        let mut compare = Vec::with_capacity(guards.len());
        for guard in guards {
            self.compares(guard, &mut compare);
        }
        let keys: Vec<Key> = guards.iter().filter_map(Guard::key).collect();
        let get = |key: &Key| self.range_request(&Query::Get(key.clone()), None);
        let request = TxnRequest {
            compare,
            success: writes.iter().map(|write| self.write(write)).collect(),
            failure: keys
                .iter()
                .map(|key| operation(Request::RequestRange(get(key))))
                .collect(),
        };
        let answer = self.wire.transaction(terms, request).await?;
        let now = revision(answer.header.as_ref());
        if answer.succeeded {
            return Ok(Commit::Done(now.0));
        }
        let found = ranges_of(answer)?.into_iter();
        let seen = found.map(|mut range| range.kvs.pop().map(seen).unwrap_or_default());
        Ok(Commit::Conflict(now, keys.into_iter().zip(seen).collect()))
    }

    async fn renew_login(&self, url: &str, password: Option<&Secret>) -> Result<(), RenewError> {
        let place = self.wire.line.place();
        let elsewhere = |named: String| RenewError::Elsewhere {
            place: place.to_owned(),
            named,
        };
        let (scheme, _) = url.split_once("://").unwrap_or_default();
        if scheme != SCHEME {
            return Err(elsewhere(format!("{scheme}://")));
        }
        let target: Target = parse(url, password).map_err(RenewError::Unusable)?;
        if target.name != place {
            return Err(elsewhere(target.name));
        }
        let renewed = self.wire.line.renew(target).await;
        renewed.map_err(RenewError::Pending)
    }

    async fn preflight(&self, terms: Terms) -> Result<Vec<String>> {
        // A user of the metadata's keys alone may not be told.
        let Ok(status) = self.wire.status(terms).await else {
            return Ok(Vec::new());
        };
        let mut warnings = Vec::new();
        for alarm in status.errors {
            warnings.push(format!(
                "etcd raises an alarm ({alarm}) and may refuse writes: compact its history, defragment it, and disarm the alarm"
            ));
        }
        if status.db_size > QUOTA / 4 * 3 {
            warnings.push(format!(
                "etcd's database takes {} MiB, {} of them for data, and etcd refuses writes at 2 GiB unless --quota-backend-bytes says otherwise: set --auto-compaction-retention, and defragment it",
                status.db_size >> 20,
                status.db_size_in_use >> 20
            ));
        }
        Ok(warnings)
    }
}
