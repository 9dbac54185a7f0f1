//! Volumes of claims: what must be known before their one transaction.

use std::sync::Arc;

use carafe_types::{Error, Ino, Result};

use super::Client;
use crate::{
    Call, NewVolume, Quota, VolumeError, VolumeRecord,
    engine::{Engine, Terms},
    ops::{self, Reads, rename, volumes},
    record::Unrecorded,
};

/// Records that are looked at in one step.
const PAGE: usize = 1000;

impl<E: Engine> Client<E> {
    pub(super) async fn make_volume(
        &self,
        call: &Call,
        volume: &NewVolume,
    ) -> Result<VolumeRecord, VolumeError> {
        let terms = Self::terms(call);
        let depth = volumes::parts(&volume.path)?.len();
        let ctx = self.ctx(call, terms).await?;
        self.ensure_root_stat(terms).await?;
        let mut inos = Vec::with_capacity(depth);
        for _ in 0..depth {
            inos.push(self.next_ino(terms).await?);
        }
        let path = volume.path.clone();
        let found = self
            .look(terms, move |reads| volumes::find(reads, &path))
            .await?;
        let used = match found {
            Some(dir) => {
                if let Some(inner) = self.volume_in(call, &volume.path).await? {
                    volumes::beside(volume, &inner)?;
                }
                self.usage_below(terms, dir).await?
            }
            None => (0, 0),
        };
        let (volume, lists): (Arc<NewVolume>, _) = (Arc::new(volume.clone()), ctx.clone());
        let plan = move |reads: &dyn Reads| {
            let planned = volumes::create(reads, &ctx, &volume, &inos, used)?;
            ops::Planned::with(Unrecorded(planned.answer), planned.mutations)
        };
        let record = self.plan_with_acls(terms, &lists, plan).await?.0?;
        self.note_quota(record.ino, record.capacity > 0 || record.inodes > 0);
        Ok(record)
    }

    /// A volume whose directory lies in `path`. All are looked through: paths are known
    /// to the engines as wholes.
    async fn volume_in(&self, call: &Call, path: &str) -> Result<Option<VolumeRecord>> {
        let mut after: Option<String> = None;
        loop {
            let terms = Self::terms(call);
            let page = self.engine.volumes(terms, after.take(), PAGE).await?;
            let Some(last) = page.last().map(|record| record.id.clone()) else {
                return Ok(None);
            };
            let mut page = page.into_iter();
            let inner = page.find(|record| volumes::is_in(&record.path, path));
            if inner.is_some() {
                return Ok(inner);
            }
            after = Some(last);
        }
    }

    pub(super) async fn find_volume(&self, call: &Call, id: &str) -> Result<Option<VolumeRecord>> {
        let terms = Self::terms(call);
        self.known(terms).await?;
        let id = id.to_owned();
        self.look(terms, move |reads| reads.volume(&id)).await
    }

    pub(super) async fn change_capacity(
        &self,
        call: &Call,
        id: &str,
        capacity: u64,
    ) -> Result<VolumeRecord, VolumeError> {
        let terms = Self::terms(call);
        let record = self
            .find_volume(call, id)
            .await?
            .ok_or_else(|| VolumeError::NotFound(id.to_owned()))?;
        let dir = record.ino;
        let has_quota = self
            .look(terms, move |reads| reads.quota(dir))
            .await?
            .is_some();
        let used = if has_quota {
            (0, 0)
        } else {
            self.usage_below(terms, dir).await?
        };
        let id = id.to_owned();
        let plan = move |reads: &dyn Reads| {
            let planned = volumes::resize(reads, &id, capacity, used)?;
            ops::Planned::with(Unrecorded(planned.answer), planned.mutations)
        };
        let record = self.plan(terms, plan).await?.0?;
        self.note_quota(record.ino, record.capacity > 0 || record.inodes > 0);
        Ok(record)
    }

    pub(super) async fn remove_volume(&self, call: &Call, id: &str) -> Result<(), VolumeError> {
        let terms = Self::terms(call);
        let Some(record) = self.find_volume(call, id).await? else {
            return Ok(());
        };
        let ctx = self
            .ctx(
                &Call {
                    session: call.session,
                    ..Call::internal()
                },
                terms,
            )
            .await?;
        let tombstones = self.tombstones(&ctx, terms).await?;
        let tree = self.tree_of(terms, &ctx, &record).await?;
        let inner = self.volume_in(call, &record.path).await?;
        if let Some(inner) = &inner {
            let (volume, inner) = (&record.id, &inner.id);
            tracing::warn!(
                volume,
                inner,
                "another volume lies in this one: its directory stays"
            );
        }
        let id = id.to_owned();
        self.plan(terms, move |reads| {
            volumes::delete(reads, &ctx, &id, tombstones, tree, inner.is_some())
        })
        .await?;
        self.note_quota(record.ino, false);
        Ok(())
    }

    pub(super) async fn tombstones(&self, ctx: &ops::Ctx, terms: Terms) -> Result<Ino> {
        let found = self
            .look(terms, |reads| reads.entry(Ino::ROOT, volumes::TOMBSTONES))
            .await?;
        if let Some(entry) = found {
            return Ok(entry.ino);
        }
        let ino = self.next_ino(terms).await?;
        let ctx = ctx.clone();
        self.plan(Terms { key: None, ..terms }, move |reads| {
            volumes::tombstones(reads, &ctx, ino)
        })
        .await
    }

    /// What a volume's directory uses, if quotas above it must hear of its going.
    async fn tree_of(
        &self,
        terms: Terms,
        ctx: &ops::Ctx,
        record: &VolumeRecord,
    ) -> Result<Option<(i64, i64)>> {
        let dir = record.ino;
        let Some(parent) = self.look(terms, move |reads| reads.parent(dir)).await? else {
            return Ok(None);
        };
        let ctx = ctx.clone();
        let crosses = self
            .look(terms, move |reads| {
                rename::crosses_quota(reads, &ctx, parent, Ino::ROOT)
            })
            .await?;
        if crosses {
            self.usage_with(terms, dir).await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// A tree's usage with its directory itself: from its quota, or counted.
    pub(super) async fn usage_with(&self, terms: Terms, dir: Ino) -> Result<(i64, i64)> {
        let quota = self.look(terms, move |reads| reads.quota(dir)).await?;
        let (space, inodes) = match quota {
            Some(quota) => (quota.used_bytes, quota.used_inodes),
            None => self.usage_below(terms, dir).await?,
        };
        Ok((space + ops::space_of(0), inodes + 1))
    }

    /// Remembers that a directory has a quota now, or has none.
    pub(super) fn note_quota(&self, dir: Ino, has: bool) {
        if let Some(known) = self.known.write().as_mut()
            && known.quotas.contains(&dir) != has
        {
            let quotas = Arc::make_mut(&mut known.quotas);
            if has {
                quotas.insert(dir);
            } else {
                quotas.remove(&dir);
            }
        }
    }

    pub(super) async fn set_dir_quota(&self, call: &Call, ino: Ino, quota: Quota) -> Result<()> {
        if ino.is_trash() {
            return Err(Error::NotPermitted);
        }
        let terms = Self::terms(call);
        let known = self.known(terms).await?;
        if !known.format.dir_stats {
            tracing::warn!(
                "the volume keeps no directory statistics: a juicefs client will not heed its quotas"
            );
        }
        // Mutations between counting and setting would be lost, so the quota is
        // known before, and its usage grows while it is counted.
        self.note_quota(ino, true);
        let used = self.usage_below(terms, ino).await?;
        self.plan(terms, move |reads| ops::quota::set(reads, ino, quota, used))
            .await
    }
}
