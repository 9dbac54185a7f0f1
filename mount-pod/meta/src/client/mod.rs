//! [`Meta`](crate::Meta) over any engine: what a client keeps in memory between
//! operations (the setting, ids in stock, what is open, directories, a few listings).

mod acls;
mod admin;
mod background;
mod clone;
mod dirs;
mod inspect;
mod listing;
mod meta;
#[cfg(test)]
mod time_tests;
mod tree;
mod volumes;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_types::{Clock, Error, Format, Ino, Result, SessionId, SystemClock, Timestamp};
use parking_lot::{Mutex, RwLock};

use self::{dirs::Dirs, listing::Listings};
use crate::{
    Call, SessionInfo,
    engine::{Engine, Observer, Silent, Terms},
    ops::{Counter, Ctx, Mutation, Opens, Plan, Read, Reads, acl, sessions, setting},
    record::Recorded,
};

/// The deadline of a call that names none.
const PATIENCE: Duration = Duration::from_secs(30);
/// That of a listing: a scan of a huge directory takes many trips.
const LISTING_PATIENCE: Duration = Duration::from_mins(2);
/// Two heartbeats and a little: a client that lives extends its session meanwhile.
const SECOND_LOOK: Duration = Duration::from_secs(25);
/// Inode numbers are taken in batches, as the peer takes them.
const INODE_BATCH: u64 = 1024;
/// Slice ids are taken in batches, as the peer takes them.
const SLICE_BATCH: u64 = 4096;

/// A client of an engine.
pub(crate) struct Client<E> {
    engine: E,
    clock: Arc<dyn Clock>,
    observer: Box<dyn Observer>,
    known: RwLock<Option<Known>>,
    /// Inode numbers in stock.
    inodes: tokio::sync::Mutex<Range<u64>>,
    opens: Arc<Opens>,
    dirs: Dirs,
    acls: Arc<Mutex<acl::Known>>,
    sustained: Mutex<Sustained>,
    /// The trash's directory of the hour: its name and inode.
    trash: Mutex<Option<(Vec<u8>, Ino)>>,
    listings: Listings,
    /// The hourly leases that this client took, and when.
    leases: Mutex<HashMap<Counter, i64>>,
    /// How long a session that looks expired is watched before it is ended.
    second_look: Duration,
}

/// The nameless inodes that this client's sessions keep.
#[derive(Default)]
struct Sustained {
    inodes: HashSet<(SessionId, Ino)>,
    /// The sessions whose earlier ones were read.
    loaded: HashSet<SessionId>,
}

/// What was last read of the setting and the quotas.
#[derive(Clone)]
struct Known {
    format: Arc<Format>,
    quotas: Arc<HashSet<Ino>>,
}

impl<E: Engine> Client<E> {
    /// A client that knows nothing yet.
    pub(crate) fn new(engine: E) -> Self {
        Self {
            engine,
            clock: Arc::new(SystemClock),
            observer: Box::new(Silent),
            known: RwLock::default(),
            inodes: tokio::sync::Mutex::new(0..0),
            opens: Arc::default(),
            dirs: Dirs::default(),
            acls: Arc::default(),
            sustained: Mutex::default(),
            trash: Mutex::default(),
            listings: Listings::default(),
            leases: Mutex::default(),
            second_look: SECOND_LOOK,
        }
    }

    fn terms(call: &Call) -> Terms {
        Terms {
            deadline: call.deadline.unwrap_or_else(|| Instant::now() + PATIENCE),
            key: call.key,
        }
    }

    /// As [`Client::terms`], for a listing.
    fn listing_terms(call: &Call) -> Terms {
        let latest = || Instant::now() + LISTING_PATIENCE;
        Terms {
            deadline: call.deadline.unwrap_or_else(latest),
            key: call.key,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The setting and the quotas, read once and at each heartbeat.
    async fn known(&self, terms: Terms) -> Result<Known> {
        let known = self.known.read().clone();
        match known {
            Some(known) => Ok(known),
            None => self.reload(terms).await,
        }
    }

    /// Reads the setting and the quotas anew.
    async fn reload(&self, terms: Terms) -> Result<Known> {
        let json = self
            .engine
            .read(terms, Arc::new(|reads: &dyn Reads| reads.setting()))
            .await?
            .ok_or(Error::NotFound)?;
        let format = parse(&json)?;
        if self.known.read().is_none() {
            self.engine.prepare(terms).await?;
        }
        let quotas = self.engine.quotas(terms).await?.into_iter().collect();
        let known = Known {
            format: Arc::new(format),
            quotas: Arc::new(quotas),
        };
        *self.known.write() = Some(known.clone());
        Ok(known)
    }

    /// As [`Client::reload`], for a client that serves: `Stale`, again and again, if
    /// the engine holds another volume by now.
    async fn reload_same(&self, terms: Terms) -> Result<Known> {
        let before = self.known(terms).await?;
        let now = self.reload(terms).await?;
        if now.format.uuid == before.format.uuid {
            return Ok(now);
        }
        *self.known.write() = Some(before);
        Err(Error::Stale(
            "the volume was formatted anew under this mount".into(),
        ))
    }

    /// Puts a session on record.
    async fn open_session(
        &self,
        call: &Call,
        session: SessionId,
        info: &SessionInfo,
    ) -> Result<()> {
        let terms = Terms {
            key: None,
            ..Self::terms(call)
        };
        let ctx = self.ctx(call, terms).await?;
        let info = serde_json::to_string(info).map_err(|error| Error::Io(error.to_string()))?;
        self.plan(terms, move |_| sessions::open(&ctx, session, &info))
            .await
    }

    async fn ctx(&self, call: &Call, terms: Terms) -> Result<Ctx> {
        let known = self.known(terms).await?;
        Ok(self.ctx_of(call, &known))
    }

    fn ctx_of(&self, call: &Call, known: &Known) -> Ctx {
        Ctx {
            now: self.now(),
            uid: call.uid,
            gid: call.gid,
            groups: call.groups.clone(),
            checked: call.checked,
            session: call.session,
            capacity: known.format.capacity,
            max_inodes: known.format.inodes,
            dir_stats: known.format.dir_stats,
            trash: None,
            opens: self.opens.clone(),
            quotas: known.quotas.clone(),
            acls: known
                .format
                .enable_acl
                .then(|| Arc::new(acl::View::new(Arc::clone(&self.acls)))),
        }
    }

    /// As [`Client::ctx`], with the trash's directory, for what may delete.
    async fn deleting_ctx(&self, call: &Call, terms: Terms) -> Result<Ctx> {
        let known = self.known(terms).await?;
        let mut ctx = self.ctx_of(call, &known);
        if known.format.trash_days > 0 {
            ctx.trash = Some(self.trash_dir(&ctx, terms).await?);
        }
        Ok(ctx)
    }

    /// The trash's directory of this hour, made if it is not there.
    async fn trash_dir(&self, ctx: &Ctx, terms: Terms) -> Result<Ino> {
        let name = hour_name(ctx.now);
        if let Some((known, ino)) = &*self.trash.lock()
            && *known == name
        {
            return Ok(*ino);
        }
        let terms = Terms { key: None, ..terms };
        let found = {
            let name = name.clone();
            self.engine
                .read(
                    terms,
                    Arc::new(move |reads: &dyn Reads| reads.entry(Ino::TRASH, &name)),
                )
                .await?
        };
        let ino = match found {
            Some(entry) => entry.ino,
            None => self.make_trash_dir(ctx, &name, terms).await?,
        };
        *self.trash.lock() = Some((name, ino));
        Ok(ino)
    }

    async fn make_trash_dir(&self, ctx: &Ctx, name: &[u8], terms: Terms) -> Result<Ino> {
        let next = self
            .engine
            .take_ids(terms, Counter::NextTrash, 1)
            .await?
            .start;
        let ino = Ino(Ino::TRASH.0 + next);
        let (ctx, name) = (ctx.clone(), name.to_vec());
        self.plan(terms, move |reads| {
            setting::trash_dir(reads, &ctx, &name, ino)
        })
        .await
    }

    /// Runs a plan and tells the observer what it changed.
    async fn plan<T: Recorded>(
        &self,
        terms: Terms,
        plan: impl Fn(&dyn Reads) -> Plan<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let planned = self.engine.transact(terms, Arc::new(plan)).await?;
        for mutation in &planned.mutations {
            if let Mutation::Sustain { session, ino } = mutation {
                self.sustained.lock().inodes.insert((*session, *ino));
            }
        }
        if planned.mutations.is_empty() {
            // It may be what was recorded of a change that was made before.
            if terms.key.is_some() {
                self.dirs.forget_all();
            }
        } else {
            self.dirs.changed(&planned.mutations);
            self.observer.changed(&planned.mutations);
        }
        Ok(planned.answer)
    }

    /// Runs a plan that changes names in directories: what is known of these afterwards
    /// follows from what was known before.
    async fn plan_in<T>(&self, dirs: &[Ino], plan: impl Future<Output = Result<T>>) -> Result<T> {
        let change = self.dirs.change(dirs);
        let answer = plan.await?;
        change.done();
        Ok(answer)
    }

    async fn look<T: Send + 'static>(
        &self,
        terms: Terms,
        look: impl Fn(&dyn Reads) -> Read<T> + Send + Sync + 'static,
    ) -> Result<T> {
        self.engine.read(terms, Arc::new(look)).await
    }

    /// Looks at an inode that is being opened. The open is counted before: an unlink in
    /// between keeps the inode.
    async fn counting<T>(
        &self,
        call: &Call,
        ino: Ino,
        look: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let key = (call.session, ino);
        let is_new = self.opens.lock().insert(key);
        let found = look.await;
        if found.is_err() && is_new {
            self.opens.lock().remove(&key);
        }
        found
    }

    /// Whether a session keeps a nameless inode. What an earlier worker of the
    /// session left is read once; then this client knows.
    async fn is_sustained(&self, terms: Terms, session: SessionId, ino: Ino) -> Result<bool> {
        if !self.sustained.lock().loaded.contains(&session) {
            let left = self.engine.sustained(terms, session).await?;
            let mut sustained = self.sustained.lock();
            sustained
                .inodes
                .extend(left.into_iter().map(|ino| (session, ino)));
            sustained.loaded.insert(session);
        }
        Ok(self.sustained.lock().inodes.contains(&(session, ino)))
    }

    /// A new inode number.
    async fn next_ino(&self, terms: Terms) -> Result<Ino> {
        let mut stock = self.inodes.lock().await;
        loop {
            // 0 is none and 1 the root, which Redis's counter does not know of.
            match stock.next() {
                Some(number) if number > 1 => return Ok(Ino(number)),
                Some(_) => {}
                None => {
                    *stock = self
                        .engine
                        .take_ids(terms, Counter::NextInode, INODE_BATCH)
                        .await?;
                }
            }
        }
    }
}

/// The setting, secrets opened, if this build can serve it.
fn parse(json: &str) -> Result<Format> {
    let damaged =
        |error: serde_json::Error| Error::Io(format!("the volume's setting is damaged: {error}"));
    let format: Format = serde_json::from_str(json).map_err(damaged)?;
    format
        .check()
        .and_then(|()| format.opened())
        .map_err(|error| Error::Io(error.to_string()))
}

/// The name of the trash's directory for an hour: `2006-01-02-15`, UTC.
fn hour_name(now: Timestamp) -> Vec<u8> {
    let (year, month, day) = civil(now.secs.div_euclid(86_400));
    let hour = now.secs.rem_euclid(86_400) / 3600;
    format!("{year:04}-{month:02}-{day:02}-{hour:02}").into_bytes()
}

/// Reads a name and drops it.
#[cfg(test)]
pub(crate) fn fuzz_hour(name: &[u8]) {
    let _ = hour_of(name);
}

/// The hour that such a name stands for, in seconds since 1970.
fn hour_of(name: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(name).ok()?;
    let parts: Vec<i64> = text
        .split('-')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [year, month, day, hour] = parts[..] else {
        return None;
    };
    let is_date =
        (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    // Anybody may put a directory of any name there.
    (is_date && (0..24).contains(&hour))
        .then(|| days_from_civil(year, month, day) * 86_400 + hour * 3600)
}

/// Year, month and day of a day counted from 1970-01-01, after Howard Hinnant's
/// `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (
        year_of_era + era * 400 + i64::from(month <= 2),
        month,
        of_year - (153 * shifted + 2) / 5 + 1,
    )
}

/// The inverse of [`civil`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_hours_name_is_the_peers() {
        let name = hour_name(Timestamp {
            secs: 1_136_214_245,
            nanos: 0,
        });
        assert_eq!(name, b"2006-01-02-15");
    }

    proptest! {
        #[test]
        fn an_hours_name_names_it(hours in 0i64..2_000_000) {
            let now = Timestamp { secs: hours * 3600 + 17, nanos: 0 };
            prop_assert_eq!(hour_of(&hour_name(now)), Some(hours * 3600));
        }
    }
}
