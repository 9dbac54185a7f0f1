//! Background work: each step is bounded, and where only one client should do it,
//! it takes the peer's lease.

use std::sync::Arc;

use carafe_types::{Error, FileType, Ino, Result, SessionId, SliceId, Timestamp};

use super::{Client, clone::is_being_cloned, hour_of};
use crate::{
    Call, Cursor,
    engine::{Engine, RawEntry, Terms},
    ops::{Counter, Reads, clean, remove, sessions, volumes::TOMBSTONES},
};

/// The leases' periods in seconds: nine tenths of the peer's.
const SESSIONS_PERIOD: i64 = 10;
const HOURLY_PERIOD: i64 = 3240;
/// Deleted files are left alone for this long: slices may still be read.
const DELETED_AGE: i64 = 3600;

impl<E: Engine> Client<E> {
    async fn take_lease(&self, call: &Call, counter: Counter, period: i64) -> Result<bool> {
        let terms = Terms {
            key: None,
            ..Self::terms(call)
        };
        let ctx = self.ctx(call, terms).await?;
        self.plan(terms, move |reads| {
            sessions::take_lease(reads, &ctx, counter, period)
        })
        .await
    }

    /// Whether this client may do hourly work: it has the lease, or takes it now.
    async fn has_lease(&self, call: &Call, counter: Counter) -> Result<bool> {
        let now = self.now().secs;
        let taken = self.leases.lock().get(&counter).copied();
        if taken.is_some_and(|taken| now - taken < HOURLY_PERIOD) {
            return Ok(true);
        }
        let got = self.take_lease(call, counter, HOURLY_PERIOD).await?;
        if got {
            self.leases.lock().insert(counter, now);
        }
        Ok(got)
    }

    /// Ends a session: sustained inodes first, then its locks and itself, so that
    /// a step that fails is found again.
    pub(super) async fn end_session(&self, call: &Call, session: SessionId) -> Result<()> {
        let terms = Terms {
            key: None,
            ..Self::terms(call)
        };
        for ino in self.engine.sustained(terms, session).await? {
            let ctx = self.ctx(call, terms).await?;
            self.plan(terms, move |reads| {
                sessions::release(reads, &ctx, session, ino)
            })
            .await?;
        }
        self.opens.lock().retain(|(holder, _)| *holder != session);
        self.plan(terms, move |_| sessions::end(session)).await
    }

    pub(super) async fn end_stale_sessions(&self, call: &Call) -> Result<usize> {
        if !self
            .take_lease(call, Counter::LastCleanupSessions, SESSIONS_PERIOD)
            .await?
        {
            return Ok(0);
        }
        let stale = self.expired_sessions(call).await?;
        if stale.is_empty() {
            return Ok(0);
        }
        // This machine's clock may be ahead of all others: who lives says so meanwhile.
        tokio::time::sleep(self.second_look).await;
        let still = self.expired_sessions(call).await?;
        let mut ended = 0;
        for (session, _) in still.iter().filter(|session| stale.contains(session)) {
            tracing::info!(
                session = session.0,
                "a session expired: its locks and open deleted files go"
            );
            self.end_session(call, *session).await?;
            ended += 1;
        }
        Ok(ended)
    }

    /// The sessions that are expired by this machine's clock, and since when.
    async fn expired_sessions(&self, call: &Call) -> Result<Vec<(SessionId, Timestamp)>> {
        let now = self.now().secs;
        let all = self.engine.sessions(Self::terms(call)).await?;
        let all = all.into_iter().map(|session| (session.id, session.expires));
        Ok(all.filter(|(_, expires)| expires.secs < now).collect())
    }

    /// Takes deleted files apart, `limit` of them.
    pub(super) async fn take_files_apart(&self, call: &Call, limit: usize) -> Result<usize> {
        if !self.has_lease(call, Counter::LastCleanupFiles).await? {
            return Ok(0);
        }
        self.take_apart(call, limit).await
    }

    /// As [`Client::take_files_apart`], whoever has the lease: each step is done once.
    pub(super) async fn take_apart(&self, call: &Call, limit: usize) -> Result<usize> {
        let terms = Terms {
            key: None,
            ..Self::terms(call)
        };
        let before = self.now().secs - DELETED_AGE;
        let files = self.engine.deleted(terms, before, limit).await?;
        for file in &files {
            let ino = file.ino;
            for index in self.engine.chunks(terms, ino, file.length).await? {
                self.plan(terms, move |reads| clean::drop_chunk(reads, ino, index))
                    .await?;
            }
            let length = file.length;
            self.plan(terms, move |_| clean::forget_file(ino, length))
                .await?;
        }
        Ok(files.len())
    }

    /// Removes what is in the trash for longer than the setting says, deleted
    /// volumes' trees, and slices that compaction replaced.
    pub(super) async fn expire(&self, call: &Call, limit: usize) -> Result<usize> {
        let terms = Terms {
            key: None,
            ..Self::terms(call)
        };
        let mut removed = self.expire_tombstones(call, terms, limit).await?;
        // The tombstones are ours alone and several may remove them at once; the
        // trash is also the peer's.
        if removed >= limit || !self.has_lease(call, Counter::LastCleanupTrash).await? {
            return Ok(removed);
        }
        removed += self.expire_due(call, limit - removed).await?;
        Ok(removed)
    }

    /// As [`Client::expire`], whoever has the lease: each step is done once.
    pub(super) async fn expire_now(&self, call: &Call, limit: usize) -> Result<usize> {
        let terms = Terms {
            key: None,
            ..Self::terms(call)
        };
        let mut removed = self.expire_tombstones(call, terms, limit).await?;
        removed += self.expire_due(call, limit.saturating_sub(removed)).await?;
        Ok(removed)
    }

    async fn expire_due(&self, call: &Call, limit: usize) -> Result<usize> {
        let terms = Terms {
            key: None,
            ..Self::terms(call)
        };
        let mut removed = 0;
        let days = i64::from(self.known(terms).await?.format.trash_days);
        // Two hours of grace: an hour's directory is filled until the hour is over.
        let edge = self.now().secs - (days * 24 + 2) * 3600;
        for hour in self.old_hours(terms, edge).await? {
            if removed >= limit {
                return Ok(removed);
            }
            removed += self
                .expire_hour(call, terms, &hour, limit - removed)
                .await?;
        }
        removed += self
            .expire_delayed(
                terms,
                self.now().secs - days * 86_400,
                limit.saturating_sub(removed),
            )
            .await?;
        Ok(removed)
    }

    async fn expire_tombstones(&self, call: &Call, terms: Terms, limit: usize) -> Result<usize> {
        let found = self
            .look(terms, |reads| reads.entry(Ino::ROOT, TOMBSTONES))
            .await?;
        let Some(tombstones) = found else {
            return Ok(0);
        };
        let known = self.known(terms).await?;
        let mut removed = 0;
        let (trees, _) = self
            .listings
            .page(&self.engine, terms, tombstones.ino, Cursor(0), limit)
            .await?;
        for (tree, _) in trees {
            if is_being_cloned(&tree.name, self.now().secs) {
                continue;
            }
            if removed >= limit {
                break;
            }
            let trash = if known.format.trash_days > 0 {
                Some(
                    self.trash_dir(&self.background_ctx(call, &known, None), terms)
                        .await?,
                )
            } else {
                None
            };
            let ctx = self.background_ctx(call, &known, trash);
            removed += self
                .remove_tree(
                    terms,
                    &ctx,
                    tombstones.ino,
                    &tree.name,
                    tree.ino,
                    limit - removed,
                )
                .await?
                .0;
        }
        Ok(removed)
    }

    async fn old_hours(&self, terms: Terms, edge: i64) -> Result<Vec<RawEntry>> {
        let mut hours = Vec::new();
        let mut visit = |entry: RawEntry| {
            if hour_of(&entry.name).is_some_and(|hour| hour < edge) {
                hours.push(entry);
            }
        };
        self.engine.scan_dir(terms, Ino::TRASH, &mut visit).await?;
        hours.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(hours)
    }

    /// Removes an hour's entries for good, trees entry by entry, and then the hour.
    async fn expire_hour(
        &self,
        call: &Call,
        terms: Terms,
        hour: &RawEntry,
        limit: usize,
    ) -> Result<usize> {
        let known = self.known(terms).await?;
        let ctx = self.background_ctx(call, &known, None);
        let mut removed = 0;
        loop {
            let (page, _) = self
                .listings
                .page(&self.engine, terms, hour.ino, Cursor(0), 1000)
                .await?;
            if page.is_empty() {
                let (ctx, name) = (ctx.clone(), hour.name.clone());
                let gone = self
                    .plan(terms, move |reads| {
                        remove::rmdir(reads, &ctx, Ino::TRASH, &name)
                    })
                    .await;
                return gone.map(|()| removed).or_else(|error| {
                    if error == Error::NotFound {
                        Ok(removed)
                    } else {
                        Err(error)
                    }
                });
            }
            for (entry, _) in page {
                if removed >= limit {
                    return Ok(removed);
                }
                removed += self
                    .expire_entry(terms, &ctx, hour.ino, entry, limit - removed)
                    .await?;
            }
        }
    }

    async fn expire_entry(
        &self,
        terms: Terms,
        ctx: &crate::ops::Ctx,
        hour: Ino,
        entry: RawEntry,
        limit: usize,
    ) -> Result<usize> {
        if entry.kind == FileType::Directory {
            return Ok(self
                .remove_tree(terms, ctx, hour, &entry.name, entry.ino, limit)
                .await?
                .0);
        }
        let ctx = ctx.clone();
        self.plan(terms, move |reads| {
            remove::unlink(reads, &ctx, hour, &entry.name)
        })
        .await?;
        Ok(1)
    }

    async fn expire_delayed(&self, terms: Terms, before: i64, limit: usize) -> Result<usize> {
        let delayed = self.engine.delayed(terms, before, limit).await?;
        let count = delayed.len();
        for list in delayed {
            self.plan(terms, move |reads| clean::drop_delayed(reads, list.key))
                .await?;
        }
        Ok(count)
    }

    pub(super) async fn forget(&self, call: &Call, slices: &[(SliceId, u32)]) -> Result<()> {
        let slices: Arc<[(SliceId, u32)]> = slices.into();
        let terms = Self::terms(call);
        self.plan(terms, move |reads: &dyn Reads| {
            clean::forget_slices(reads, &slices)
        })
        .await
    }
}
