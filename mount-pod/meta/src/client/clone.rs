//! Cloning trees.
//!
//! A tree is cloned among the tombstones, where nobody sees it, and moved to its place
//! in one transaction: it appears whole or not at all. What a killed clone leaves there
//! is removed as a deleted volume's tree is, a day after it was begun.

use carafe_types::{Attr, Error, FileType, Ino, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::Client;
use crate::{
    Call, Cloning, Cursor, RenameFlags, SetAttr,
    engine::{Engine, RawEntry},
    ops::{
        Ctx, Reads,
        clone::{Source, clone_node},
        names, rename,
    },
    record::Unrecorded,
};

/// Entries that are looked at together.
const PAGE: usize = 1000;
/// Inodes that are cloned at a time.
const AT_ONCE: usize = 8;
/// How often a file that changes meanwhile is tried.
const ATTEMPTS: usize = 10;
/// A clone that was begun so many seconds ago is not made any more.
const ABANDONED: i64 = 86_400;

/// The staged tree's name: who is cloned, and since when.
fn staged_name(source: Ino, now: i64) -> String {
    format!("clone-{source}-{now}")
}

/// Whether an entry of the tombstones is a clone that may still be under way.
pub(super) fn is_being_cloned(name: &[u8], now: i64) -> bool {
    let begun = std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.strip_prefix("clone-")?.rsplit_once('-'))
        .and_then(|(_, begun)| begun.parse::<i64>().ok());
    begun.is_some_and(|begun| now - begun < ABANDONED)
}

impl<E: Engine> Client<E> {
    pub(super) async fn clone_whole(
        &self,
        call: &Call,
        source: Ino,
        parent: Ino,
        name: &[u8],
        how: Cloning,
    ) -> Result<u64> {
        names::check_new_place(parent, name)?;
        let terms = Self::step(call);
        let ctx = self.ctx(call, terms).await?;
        let attr = self.look(terms, move |reads| reads.node(source)).await?;
        let attr = attr.ok_or(Error::NotFound)?;
        if !attr.is_dir() {
            let made = self.clone_one(call, &ctx, source, (parent, name), how);
            return made.await?.map(|_| 1).ok_or(Error::NotFound);
        }
        self.check_apart(call, source, parent).await?;
        let free = {
            let name = name.to_vec();
            self.look(terms, move |reads| reads.entry(parent, &name))
        };
        if free.await?.is_some() {
            return Err(Error::Exists);
        }
        let tombstones = self.tombstones(&ctx, terms).await?;
        let staged = staged_name(source, ctx.now.secs).into_bytes();
        let made = self.stage(call, &ctx, source, (tombstones, &staged), how);
        let done = match made.await {
            Ok(count) => self
                .unveil(call, &ctx, (tombstones, &staged), (parent, name))
                .await
                .map(|()| count),
            Err(error) => Err(error),
        };
        if done.is_err() {
            self.give_up(call, &ctx, tombstones, &staged).await;
        }
        done
    }

    /// A tree cannot hold its own clone.
    async fn check_apart(&self, call: &Call, source: Ino, parent: Ino) -> Result<()> {
        let mut at = parent;
        for _ in 0..4096 {
            if at == source || source.is_trash() {
                return Err(Error::Invalid);
            }
            if at == Ino::ROOT || at.0 == 0 || at.is_trash() {
                break;
            }
            let above = self.look(Self::step(call), move |reads| reads.parent(at));
            at = above.await?.unwrap_or_default();
        }
        Ok(())
    }

    /// Clones a tree to a place of its own; answers the inodes made.
    async fn stage(
        &self,
        call: &Call,
        ctx: &Ctx,
        source: Ino,
        place: (Ino, &[u8]),
        how: Cloning,
    ) -> Result<u64> {
        let top = self.clone_one(call, ctx, source, place, how).await?;
        let mut waiting = vec![(source, top.ok_or(Error::NotFound)?)];
        let mut count = 1;
        while let Some((from, to)) = waiting.pop() {
            let mut cursor = Cursor(0);
            loop {
                let terms = Self::step(call);
                let (page, end) = self
                    .listings
                    .page(&self.engine, terms, from, cursor, PAGE)
                    .await?;
                let mut clones = Vec::with_capacity(page.len());
                for (entry, next) in page {
                    cursor = next;
                    clones.push(self.clone_entry(call, ctx, entry, to, how));
                }
                let clones = stream::iter(clones).buffer_unordered(AT_ONCE);
                let made: Vec<_> = clones.try_collect().await?;
                for (entry, ino) in made.into_iter().flatten() {
                    count += 1;
                    if entry.kind == FileType::Directory {
                        waiting.push((entry.ino, ino));
                    }
                }
                if end {
                    break;
                }
            }
            if how.preserve {
                self.copy_times(call, ctx, from, to).await?;
            }
        }
        Ok(count)
    }

    /// Clones an entry into `to`; `None` if its inode is gone by now.
    async fn clone_entry(
        &self,
        call: &Call,
        ctx: &Ctx,
        entry: RawEntry,
        to: Ino,
        how: Cloning,
    ) -> Result<Option<(RawEntry, Ino)>> {
        let made = self.clone_one(call, ctx, entry.ino, (to, &entry.name), how);
        Ok(made.await?.map(|ino| (entry, ino)))
    }

    async fn clone_one(
        &self,
        call: &Call,
        ctx: &Ctx,
        source: Ino,
        (parent, name): (Ino, &[u8]),
        how: Cloning,
    ) -> Result<Option<Ino>> {
        for _ in 0..ATTEMPTS {
            let terms = Self::step(call);
            let attr = self.look(terms, move |reads| reads.node(source)).await?;
            let Some(attr) = attr else {
                return Ok(None);
            };
            let chunks = self.chunks_of(call, source, &attr).await?;
            let ino = self.next_ino(terms).await?;
            let source = Source {
                ino: source,
                attr,
                chunks,
            };
            let (ctx, name) = (ctx.clone(), name.to_vec());
            let plan = move |reads: &dyn Reads| {
                let planned = clone_node(reads, &ctx, &source, (parent, &name), ino, how)?;
                crate::ops::Planned::with(Unrecorded(planned.answer), planned.mutations)
            };
            if let Unrecorded(Some(ino)) = self.plan(terms, plan).await? {
                return Ok(Some(ino));
            }
        }
        Err(Error::WouldBlock)
    }

    async fn chunks_of(&self, call: &Call, ino: Ino, attr: &Attr) -> Result<Vec<u32>> {
        if attr.kind != FileType::File {
            return Ok(Vec::new());
        }
        let terms = Self::step(call);
        let mut chunks = self.engine.chunks(terms, ino, attr.length).await?;
        chunks.sort_unstable();
        chunks.dedup();
        Ok(chunks)
    }

    async fn copy_times(&self, call: &Call, ctx: &Ctx, from: Ino, to: Ino) -> Result<()> {
        let terms = Self::step(call);
        let attr = self.look(terms, move |reads| reads.node(from)).await?;
        let Some(attr) = attr else {
            return Ok(());
        };
        let set = SetAttr {
            atime: Some(attr.atime),
            mtime: Some(attr.mtime),
            ..SetAttr::default()
        };
        let ctx = ctx.clone();
        self.plan(terms, move |reads| {
            crate::ops::attrs::setattr(reads, &ctx, to, &set)
        })
        .await
        .map(|_| ())
    }

    /// Moves the finished tree to its place.
    async fn unveil(
        &self,
        call: &Call,
        ctx: &Ctx,
        (from, staged): (Ino, &[u8]),
        (to, name): (Ino, &[u8]),
    ) -> Result<()> {
        let terms = Self::step(call);
        let tree = self.moved_tree(terms, ctx, from, staged, to).await?;
        let (ctx, staged, name) = (ctx.clone(), staged.to_vec(), name.to_vec());
        let plan = move |reads: &dyn Reads| {
            let mv = rename::Move {
                from,
                name: &staged,
                to,
                new_name: &name,
                tree,
                into_trash: false,
            };
            rename::rename(reads, &ctx, mv, RenameFlags::NoReplace)
        };
        self.plan(terms, plan).await.map(|_| ())
    }

    /// Removes what was made of a clone that failed.
    async fn give_up(&self, call: &Call, ctx: &Ctx, tombstones: Ino, staged: &[u8]) {
        let name = staged.to_vec();
        let entry = self
            .look(Self::step(call), move |reads| {
                reads.entry(tombstones, &name)
            })
            .await;
        let Ok(Some(entry)) = entry else { return };
        let step = || Self::step(call);
        let gone = async {
            self.remove_below(step, ctx, entry.ino, usize::MAX, AT_ONCE)
                .await?;
            self.remove(step(), ctx, tombstones, staged, true).await
        };
        if let Err(error) = gone.await {
            tracing::warn!(%error, "what was made of the clone is left to background work");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_young_clone_is_left_alone() {
        let name = staged_name(Ino(7), 1000).into_bytes();
        assert!(is_being_cloned(&name, 1000 + ABANDONED - 1));
        assert!(!is_being_cloned(&name, 1000 + ABANDONED));
        assert!(!is_being_cloned(b"7-1000", 1000), "a deleted volume's");
    }
}
