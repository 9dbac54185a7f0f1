//! Administration: arguments checked, steps run.

use std::collections::HashSet;

use async_trait::async_trait;
use carafe_types::{Attr, Error, FileType, Ino, Result, SliceId};

use super::{Client, PATIENCE, tree::room};
use crate::{
    Admin, Call, ChunkRecord, Cloning, Cursor, DeletedFile, DirReport, DirStat, QuotaUsage,
    Removal, TreeUsage,
    engine::{Engine, Terms},
    ops::{Reads, names, rename, repair, space_of},
};

/// Entries that are looked at together.
const PAGE: usize = 1000;
/// Entries that are removed before the trash's directory is asked for anew.
const STEP: usize = 100_000;
/// Deeper than PATH_MAX allows means a damaged tree.
const DEEPEST: usize = 4096;

#[async_trait]
impl<E: Engine> Admin for Client<E> {
    async fn scan_chunks(
        &self,
        _call: &Call,
        visit: &mut (dyn FnMut(ChunkRecord) + Send),
    ) -> Result<()> {
        self.engine.scan_chunks(PATIENCE, visit).await
    }

    async fn chunk_indexes(&self, call: &Call, ino: Ino) -> Result<Vec<u32>> {
        let terms = Self::step(call);
        let node = self.look(terms, move |reads| reads.node(ino)).await?;
        let length = node.ok_or(Error::NotFound)?.length;
        let mut chunks = self.engine.chunks(terms, ino, length).await?;
        chunks.sort_unstable();
        Ok(chunks)
    }

    async fn delayed_slices(&self, call: &Call) -> Result<Vec<(SliceId, u32)>> {
        let all = self
            .engine
            .delayed(Self::step(call), i64::MAX, usize::MAX >> 1);
        Ok(all.await?.into_iter().flat_map(|one| one.slices).collect())
    }

    async fn deleted_files(&self, call: &Call, limit: usize) -> Result<Vec<DeletedFile>> {
        let found = self
            .engine
            .deleted(Self::step(call), i64::MAX, limit)
            .await?;
        let file = |file: crate::engine::Deleted| DeletedFile {
            ino: file.ino,
            length: file.length,
        };
        Ok(found.into_iter().map(file).collect())
    }

    async fn expire_trash_now(&self, call: &Call, limit: usize) -> Result<usize> {
        self.expire_now(call, limit).await
    }

    async fn clean_deleted_files_now(&self, call: &Call, limit: usize) -> Result<usize> {
        self.take_apart(call, limit).await
    }

    async fn usage(
        &self,
        call: &Call,
        ino: Ino,
        recursive: bool,
        strict: bool,
    ) -> Result<TreeUsage> {
        let node = self.look(Self::step(call), move |reads| reads.node(ino));
        let attr = node.await?.ok_or(Error::NotFound)?;
        let mut usage = TreeUsage::default();
        count_inode(&mut usage, attr.kind, Some(&attr));
        let mut waiting = Vec::new();
        if attr.is_dir() {
            waiting.push(ino);
        }
        while let Some(dir) = waiting.pop() {
            let below = self.count_dir(call, dir, strict, &mut usage).await?;
            if recursive {
                waiting.extend(below);
            }
        }
        Ok(usage)
    }

    async fn paths(&self, call: &Call, ino: Ino) -> Result<Vec<Vec<u8>>> {
        if ino == Ino::ROOT {
            return Ok(vec![b"/".to_vec()]);
        }
        let node = self.look(Self::step(call), move |reads| reads.node(ino));
        let attr = node.await?.ok_or(Error::NotFound)?;
        let parents = if attr.parent.0 == 0 {
            let held = self.look(Self::step(call), move |reads| reads.parents(ino));
            held.await?.into_iter().map(|(parent, _)| parent).collect()
        } else {
            vec![attr.parent]
        };
        let mut paths = Vec::new();
        for parent in parents {
            let Some(above) = self.path_of_dir(call, parent).await? else {
                continue;
            };
            for name in self.names_of(call, parent, ino).await? {
                paths.push([&above[..], b"/", &name].concat());
            }
        }
        paths.sort();
        Ok(paths)
    }

    async fn quotas(&self, call: &Call) -> Result<Vec<(Ino, QuotaUsage)>> {
        let terms = Self::step(call);
        let mut found = Vec::new();
        for dir in self.engine.quotas(terms).await? {
            let quota = self.look(terms, move |reads| reads.quota(dir)).await?;
            found.extend(quota.map(|quota| (dir, quota)));
        }
        found.sort_by_key(|(dir, _)| *dir);
        Ok(found)
    }

    async fn adjust_quota(&self, call: &Call, dir: Ino, bytes: i64, inodes: i64) -> Result<()> {
        let terms = Self::step(call);
        let within = self.plan(terms, move |_| repair::quota(dir, bytes, inodes));
        match within.await {
            Err(Error::QuotaExceeded) => {}
            other => return other,
        }
        // Usage is set anew: what others book between the look and the change is lost,
        // since no plan may rest on figures that change all the time.
        let found = self.look(terms, move |reads| reads.quota(dir)).await?;
        let found = found.unwrap_or_default();
        let used = (found.used_bytes + bytes, found.used_inodes + inodes);
        self.plan(terms, move |reads| repair::quota_over(reads, dir, used))
            .await
    }

    async fn inspect_dir(&self, call: &Call, dir: Ino) -> Result<DirReport> {
        self.look_into(call, dir).await
    }

    async fn repair_dir(
        &self,
        call: &Call,
        dir: Ino,
        parent: Ino,
        report: &DirReport,
    ) -> Result<bool> {
        let terms = Self::step(call);
        let (ctx, report) = (self.ctx(call, terms).await?, report.clone());
        self.plan(terms, move |reads| {
            repair::dir(reads, &ctx, dir, parent, &report)
        })
        .await
    }

    async fn adjust_dir_stat(&self, call: &Call, dir: Ino, gap: DirStat) -> Result<()> {
        self.plan(Self::step(call), move |reads| {
            repair::dir_stat(reads, dir, gap)
        })
        .await
    }

    async fn remove_tree(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        how: Removal,
    ) -> Result<u64> {
        names::check_place(parent, name)?;
        let place = name.to_vec();
        let found = self
            .look(Self::step(call), move |reads| reads.entry(parent, &place))
            .await?
            .ok_or(Error::NotFound)?;
        // What is in the trash does not go there again.
        let for_good = how.skip_trash || self.is_in_trash(call, parent).await?;
        // The trash's directory is the hour's: a long removal asks for it anew.
        let ctx = || async {
            if for_good {
                self.ctx(call, Self::step(call)).await
            } else {
                self.deleting_ctx(call, Self::step(call)).await
            }
        };
        let is_dir = found.kind == FileType::Directory;
        let mut removed = 0;
        loop {
            let ctx = ctx().await?;
            if is_dir {
                let step = || Self::step(call);
                let below = self.remove_below(step, &ctx, found.ino, STEP, how.threads);
                let below = below.await?;
                removed += below as u64;
                if below >= STEP {
                    continue;
                }
            }
            let terms = Self::step(call);
            self.remove(terms, &ctx, parent, name, is_dir).await?;
            return Ok(removed + 1);
        }
    }

    async fn clone_tree(
        &self,
        call: &Call,
        source: Ino,
        parent: Ino,
        name: &[u8],
        how: Cloning,
    ) -> Result<u64> {
        self.clone_whole(call, source, parent, name, how).await
    }

    async fn restore(
        &self,
        call: &Call,
        hour: Ino,
        entry: &[u8],
        parent: Ino,
        name: &[u8],
        rebuild: bool,
    ) -> Result<()> {
        if hour <= Ino::TRASH {
            return Err(Error::Invalid);
        }
        names::check_new_place(parent, name)?;
        let terms = Self::step(call);
        let ctx = self.ctx(call, terms).await?;
        let tree = self.moved_tree(terms, &ctx, hour, entry, parent).await?;
        let (entry, name) = (entry.to_vec(), name.to_vec());
        let plan = move |reads: &dyn Reads| {
            let mv = rename::Move {
                from: hour,
                name: &entry,
                to: parent,
                new_name: &name,
                tree,
                into_trash: rebuild,
            };
            rename::rename(reads, &ctx, mv, crate::RenameFlags::NoReplace)
        };
        let (ino, attr) = self.plan(terms, plan).await?;
        // A directory lost its statistics when it was removed.
        if attr.is_dir() {
            self.ensure_dir_stat(terms, ino).await?;
        }
        Ok(())
    }
}

impl<E: Engine> Client<E> {
    /// The terms of one step of long work.
    pub(super) fn step(call: &Call) -> Terms {
        Terms {
            key: None,
            ..Self::terms(call)
        }
    }

    async fn is_in_trash(&self, call: &Call, dir: Ino) -> Result<bool> {
        let mut at = dir;
        for _ in 0..DEEPEST {
            if at == Ino::ROOT || at.0 == 0 || at.is_trash() {
                break;
            }
            let parent = self.look(Self::step(call), move |reads| reads.parent(at));
            at = parent.await?.unwrap_or_default();
        }
        Ok(at.is_trash())
    }

    /// Counts a directory's entries; answers its directories.
    async fn count_dir(
        &self,
        call: &Call,
        dir: Ino,
        strict: bool,
        usage: &mut TreeUsage,
    ) -> Result<Vec<Ino>> {
        let stat = if strict || dir.is_trash() {
            None
        } else {
            let stat = self.look(Self::step(call), move |reads| reads.dir_stat(dir));
            stat.await?
        };
        let (mut below, mut cursor) = (Vec::new(), Cursor(0));
        if let Some(stat) = stat {
            usage.length += stat.length.max(0) as u64;
            usage.space += stat.space.max(0) as u64;
        }
        loop {
            let terms = Self::step(call);
            let page = self
                .listings
                .page(&self.engine, terms, dir, cursor, PAGE)
                .await?;
            let inos: Vec<Ino> = page.0.iter().map(|(entry, _)| entry.ino).collect();
            let mut attrs = match stat {
                Some(_) => Vec::new(),
                None => self.engine.nodes(terms, &inos).await?,
            }
            .into_iter();
            for (entry, next) in page.0 {
                cursor = next;
                if stat.is_some() {
                    count_kind(usage, entry.kind);
                } else {
                    count_inode(usage, entry.kind, attrs.next().flatten().as_ref());
                }
                if entry.kind == FileType::Directory {
                    below.push(entry.ino);
                }
            }
            if page.1 {
                return Ok(below);
            }
        }
    }

    /// A directory's path without a trailing `/`: empty for the root. `None` if no name
    /// leads to it.
    async fn path_of_dir(&self, call: &Call, dir: Ino) -> Result<Option<Vec<u8>>> {
        let (mut at, mut parts) = (dir, Vec::new());
        for _ in 0..DEEPEST {
            if at == Ino::ROOT || at == Ino::TRASH {
                if at == Ino::TRASH {
                    parts.push(b".trash".to_vec());
                }
                parts.push(Vec::new());
                parts.reverse();
                return Ok(Some(parts.join(&b'/')));
            }
            let parent = self.look(Self::step(call), move |reads| reads.parent(at));
            let Some(parent) = parent.await? else {
                return Ok(None);
            };
            let Some(name) = self.names_of(call, parent, at).await?.pop() else {
                return Ok(None);
            };
            parts.push(name);
            at = parent;
        }
        Ok(None)
    }

    /// The names that a directory has for an inode.
    async fn names_of(&self, call: &Call, dir: Ino, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let mut names = HashSet::new();
        let mut visit = |entry: crate::engine::RawEntry| {
            if entry.ino == ino {
                names.insert(entry.name);
            }
        };
        self.engine
            .scan_dir(Self::step(call), dir, &mut visit)
            .await?;
        Ok(names.into_iter().collect())
    }
}

fn count_kind(usage: &mut TreeUsage, kind: FileType) {
    if kind == FileType::Directory {
        usage.dirs += 1;
    } else {
        usage.files += 1;
    }
}

fn count_inode(usage: &mut TreeUsage, kind: FileType, attr: Option<&Attr>) {
    count_kind(usage, kind);
    usage.space += attr.map_or(space_of(0), room) as u64;
    if kind == FileType::File {
        usage.length += attr.map_or(0, |attr| attr.length);
    }
}
