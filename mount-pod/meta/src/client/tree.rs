//! Walking trees: their usage, and their removal entry by entry.

use carafe_types::{Attr, FileType, Ino, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Client, PATIENCE};
use crate::{
    Call, Cursor,
    engine::{Engine, Terms},
    ops::{Ctx, quota, remove, rename, space_of},
};

/// Entries that are looked at together.
const PAGE: usize = 1000;

/// A directory that goes once it is empty.
struct Waiting {
    dir: Ino,
    /// Its parent and name; none for the one that stays.
    place: Option<(Ino, Vec<u8>)>,
    /// How far its entries are removed.
    cursor: Cursor,
}

impl<E: Engine> Client<E> {
    /// What a directory that crosses a quota's border uses.
    pub(super) async fn moved_tree(
        &self,
        terms: Terms,
        ctx: &Ctx,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
    ) -> Result<Option<(i64, i64)>> {
        if ctx.quotas.is_empty() || parent == new_parent {
            return Ok(None);
        }
        let ctx = ctx.clone();
        if !self
            .look(terms, move |reads| {
                rename::crosses_quota(reads, &ctx, parent, new_parent)
            })
            .await?
        {
            return Ok(None);
        }
        let name = name.to_vec();
        match self
            .look(terms, move |reads| reads.entry(parent, &name))
            .await?
        {
            Some(entry) if entry.kind == FileType::Directory => {
                self.usage_with(terms, entry.ino).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// What a directory's tree uses below it: bytes in whole units, and inodes.
    /// Not a snapshot: what changes meanwhile may be counted or not.
    pub(super) async fn usage_below(&self, terms: Terms, dir: Ino) -> Result<(i64, i64)> {
        let (mut space, mut inodes) = (0, 0);
        let mut waiting = vec![dir];
        while let Some(dir) = waiting.pop() {
            let mut cursor = Cursor(0);
            loop {
                let terms = terms.at_least(PATIENCE);
                let (page, end) = self
                    .listings
                    .page(&self.engine, terms, dir, cursor, PAGE)
                    .await?;
                let inos: Vec<Ino> = page.iter().map(|(entry, _)| entry.ino).collect();
                let attrs = self.engine.nodes(terms, &inos).await?;
                for ((entry, next), attr) in page.into_iter().zip(attrs) {
                    cursor = next;
                    if entry.kind == FileType::Directory {
                        waiting.push(entry.ino);
                    }
                    space += attr.as_ref().map_or(space_of(0), room);
                    inodes += 1;
                }
                if end {
                    break;
                }
            }
        }
        Ok((space, inodes))
    }

    /// Makes the root's statistics if the peer formatted the volume and never changed it.
    pub(super) async fn ensure_root_stat(&self, terms: Terms) -> Result<()> {
        self.ensure_dir_stat(terms, Ino::ROOT).await
    }

    /// Makes a directory's statistics if they are to be kept and are not there.
    pub(super) async fn ensure_dir_stat(&self, terms: Terms, dir: Ino) -> Result<()> {
        let known = self.known(terms).await?;
        if !known.format.dir_stats
            || self
                .look(terms, move |reads| reads.has_dir_stat(dir))
                .await?
        {
            return Ok(());
        }
        let mut inos = Vec::new();
        self.engine
            .scan_dir(terms, dir, &mut |entry| inos.push(entry.ino))
            .await?;
        let mut sums = (0, 0, 0);
        for attr in self.engine.nodes(terms, &inos).await?.into_iter().flatten() {
            let length = if attr.kind == FileType::File {
                attr.length as i64
            } else {
                0
            };
            sums = (sums.0 + length, sums.1 + room(&attr), sums.2 + 1);
        }
        let terms = Terms { key: None, ..terms };
        self.plan(terms, move |reads| quota::init_stat(reads, dir, sums))
            .await
    }

    /// Removes up to `limit` entries below a directory, deepest first, `threads` files at
    /// a time, and answers how many went. `ctx` says whether through the trash; `terms`
    /// are those of a step.
    pub(super) async fn remove_below(
        &self,
        terms: impl Fn() -> Terms,
        ctx: &Ctx,
        dir: Ino,
        limit: usize,
        threads: usize,
    ) -> Result<usize> {
        let mut removed = 0;
        let mut path = vec![Waiting {
            dir,
            place: None,
            cursor: Cursor(0),
        }];
        while let Some(at) = path.last_mut() {
            if removed >= limit {
                break;
            }
            let (dir, terms) = (at.dir, terms());
            let room = PAGE.min(limit - removed);
            let (page, _) = self
                .listings
                .page(&self.engine, terms, dir, at.cursor, room)
                .await?;
            if page.is_empty() && at.cursor.0 > 0 {
                at.cursor = Cursor(0); // once more: what came meanwhile goes, too
                continue;
            }
            let first = page
                .iter()
                .position(|(entry, _)| entry.kind == FileType::Directory)
                .unwrap_or(page.len());
            let below = page.get(first).cloned();
            if let Some((_, next)) = page.get(first).or(page.last()) {
                at.cursor = *next;
            }
            let mut removals = Vec::with_capacity(first);
            for (entry, _) in page.iter().take(first) {
                removals.push(self.remove(terms, ctx, dir, &entry.name, false));
            }
            let removals = stream::iter(removals).buffer_unordered(threads.max(1));
            removals.try_collect::<()>().await?;
            removed += first;
            if let Some((entry, _)) = below {
                path.push(Waiting {
                    dir: entry.ino,
                    place: Some((dir, entry.name)),
                    cursor: Cursor(0),
                });
            } else if page.is_empty()
                && let Some(Waiting {
                    place: Some((parent, name)),
                    ..
                }) = path.pop()
            {
                self.remove(terms, ctx, parent, &name, true).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes one entry, unless it is gone already.
    pub(super) async fn remove(
        &self,
        terms: Terms,
        ctx: &Ctx,
        parent: Ino,
        name: &[u8],
        is_dir: bool,
    ) -> Result<()> {
        let (ctx, name) = (ctx.clone(), name.to_vec());
        let terms = Terms { key: None, ..terms };
        let plan = self.plan(terms, move |reads| {
            if is_dir {
                remove::rmdir(reads, &ctx, parent, &name)
            } else {
                remove::unlink(reads, &ctx, parent, &name)
            }
        });
        match plan.await {
            Err(carafe_types::Error::NotFound) => Ok(()),
            other => other,
        }
    }

    /// Removes an entry and all below it, up to `limit` entries; answers how many
    /// went and whether nothing is left.
    pub(super) async fn remove_tree(
        &self,
        terms: Terms,
        ctx: &Ctx,
        parent: Ino,
        name: &[u8],
        ino: Ino,
        limit: usize,
    ) -> Result<(usize, bool)> {
        let below = self.remove_below(|| terms, ctx, ino, limit, 1).await?;
        if below >= limit {
            return Ok((below, false));
        }
        match self.remove(terms, ctx, parent, name, true).await {
            Ok(()) => Ok((below + 1, true)),
            Err(carafe_types::Error::NotEmpty) => Ok((below, false)),
            Err(error) => Err(error),
        }
    }

    /// A call for background work, with the terms of `call`.
    pub(super) fn background_ctx(
        &self,
        call: &Call,
        known: &super::Known,
        trash: Option<Ino>,
    ) -> Ctx {
        let mut ctx = self.ctx_of(
            &Call {
                session: call.session,
                ..Call::internal()
            },
            known,
        );
        ctx.trash = trash;
        ctx
    }
}

/// The room of an inode in the books.
pub(super) fn room(attr: &Attr) -> i64 {
    space_of(if attr.kind == FileType::File {
        attr.length
    } else {
        0
    })
}
