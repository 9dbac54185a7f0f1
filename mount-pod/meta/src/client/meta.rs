//! The operations: arguments checked, plans run.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use carafe_types::{
    Acl, AclKind, Attr, Error, Format, Ino, Result, Secret, SessionId, Slice, SliceId,
};

use super::{Client, SLICE_BATCH};
use crate::{
    Call, Compaction, Cursor, DirPage, Fallocate, FileLock, LockKind, Meta, NewNode, NewVolume,
    Quota, QuotaUsage, RenameFlags, RenewError, SessionInfo, SessionRecord, SetAttr, SliceCommit,
    SliceIds, StatFs, VolumeError, VolumeRecord, XattrMode,
    engine::{Engine, Terms},
    ops::{
        Counter, Reads, acl, attrs, compact, create, data, locks, names, quota, remove, rename,
        sessions, setting, xattr,
    },
};

#[async_trait]
impl<E: Engine> Meta for Client<E> {
    fn name(&self) -> String {
        self.engine.name()
    }

    async fn format(&self, call: &Call, format: &Format, force: bool) -> Result<()> {
        let terms = Self::terms(call);
        self.engine.prepare(terms).await?;
        let sealed = format
            .sealed(nonce)
            .map_err(|error| Error::Io(error.to_string()))?;
        let json =
            serde_json::to_string_pretty(&sealed).map_err(|error| Error::Io(error.to_string()))?;
        let known = super::Known {
            format: Arc::new(format.clone()),
            quotas: Arc::default(),
        };
        let ctx = self.ctx_of(call, &known);
        let format = format.clone();
        self.plan(terms, move |reads| {
            setting::format(reads, &ctx, &format, &json, force)
        })
        .await?;
        self.reload(terms).await.map(|_| ())
    }

    async fn load(&self, call: &Call) -> Result<Format> {
        self.reload(Self::terms(call))
            .await
            .map(|known| (*known.format).clone())
    }

    async fn preflight(&self, call: &Call) -> Result<Vec<String>> {
        self.engine.preflight(Self::terms(call)).await
    }

    async fn renew_login(&self, url: &str, password: Option<&Secret>) -> Result<(), RenewError> {
        self.engine.renew_login(url, password).await
    }

    async fn statfs(&self, call: &Call, root: Ino) -> Result<StatFs> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        self.look(terms, move |reads| quota::statfs(reads, &ctx, root))
            .await
    }

    async fn new_session(&self, call: &Call, info: &SessionInfo) -> Result<SessionId> {
        let terms = Self::terms(call);
        self.reload(terms).await?;
        self.ensure_root_stat(terms).await?;
        let session = SessionId(
            self.engine
                .take_ids(terms, Counter::NextSession, 1)
                .await?
                .start,
        );
        self.open_session(call, session, info).await?;
        Ok(session)
    }

    async fn restore_session(
        &self,
        call: &Call,
        session: SessionId,
        info: &SessionInfo,
    ) -> Result<()> {
        self.reload_same(Self::terms(call)).await?;
        self.open_session(call, session, info).await
    }

    async fn heartbeat(&self, call: &Call, session: SessionId) -> Result<Format> {
        let terms = Terms {
            key: None,
            ..Self::terms(call)
        };
        let ctx = self.ctx(call, terms).await?;
        self.plan(terms, move |reads| sessions::extend(reads, &ctx, session))
            .await?;
        self.listings.forget_old();
        self.engine.rest();
        let now = self.reload_same(terms).await?;
        Ok((*now.format).clone())
    }

    async fn close_session(&self, call: &Call, session: SessionId) -> Result<()> {
        self.end_session(call, session).await
    }

    async fn sessions(&self, call: &Call) -> Result<Vec<SessionRecord>> {
        self.engine.sessions(Self::terms(call)).await
    }

    async fn lookup(&self, call: &Call, parent: Ino, name: &[u8]) -> Result<(Ino, Attr)> {
        names::check_name(name)?;
        let (name, asked) = (name.to_vec(), self.dirs.asked());
        let look = self.look(Self::terms(call), move |reads| {
            names::lookup(reads, parent, &name)
        });
        let (ino, attr) = look.await?;
        self.dirs.told(ino, &attr, asked);
        Ok((ino, attr))
    }

    async fn resolve(&self, call: &Call, from: Ino, path: &[u8]) -> Result<(Ino, Attr)> {
        let path = path.to_vec();
        self.look(Self::terms(call), move |reads| {
            names::resolve(reads, from, &path)
        })
        .await
    }

    async fn create(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        node: &NewNode,
    ) -> Result<(Ino, Attr)> {
        names::check_new(parent, name, node)?;
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        let ino = self.next_ino(terms).await?;
        let (name, node, lists) = (name.to_vec(), node.clone(), ctx.clone());
        let asked = self.dirs.asked();
        let plan = self.plan_with_acls(terms, &lists, move |reads| {
            create::create(reads, &ctx, parent, &name, &node, ino)
        });
        let (ino, attr) = self.plan_in(&[parent], plan).await?;
        self.dirs.told(ino, &attr, asked);
        Ok((ino, attr))
    }

    async fn create_open(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        node: &NewNode,
        exclusive: bool,
        truncate: bool,
    ) -> Result<(Ino, Attr, bool)> {
        names::check_new(parent, name, node)?;
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        let ino = self.next_ino(terms).await?;
        let (name, node, lists) = (name.to_vec(), node.clone(), ctx.clone());
        let plan = move |reads: &dyn Reads| {
            create::create_open(reads, &ctx, parent, &name, &node, ino, exclusive, truncate)
        };
        let plan = self.plan_with_acls(terms, &lists, plan);
        let answer = self.plan_in(&[parent], plan).await?;
        self.opens.lock().insert((call.session, answer.0));
        Ok(answer)
    }

    async fn readlink(&self, call: &Call, ino: Ino) -> Result<Vec<u8>> {
        self.look(Self::terms(call), move |reads| names::readlink(reads, ino))
            .await
    }

    async fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        names::check_new_place(parent, name)?;
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        let name = name.to_vec();
        let plan = self.plan(terms, move |reads| {
            create::link(reads, &ctx, ino, parent, &name)
        });
        self.plan_in(&[parent], plan).await
    }

    async fn unlink(&self, call: &Call, parent: Ino, name: &[u8]) -> Result<()> {
        names::check_removal(call, parent, name)?;
        let terms = Self::terms(call);
        let ctx = self.deleting_ctx(call, terms).await?;
        let name = name.to_vec();
        let plan = self.plan(terms, move |reads| {
            remove::unlink(reads, &ctx, parent, &name)
        });
        self.plan_in(&[parent], plan).await
    }

    async fn rmdir(&self, call: &Call, parent: Ino, name: &[u8]) -> Result<()> {
        names::check_removal(call, parent, name)?;
        if parent == Ino::TRASH {
            return Err(Error::NotPermitted);
        }
        let terms = Self::terms(call);
        let ctx = self.deleting_ctx(call, terms).await?;
        let name = name.to_vec();
        let plan = self.plan(terms, move |reads| {
            remove::rmdir(reads, &ctx, parent, &name)
        });
        self.plan_in(&[parent], plan).await
    }

    async fn rename(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(Ino, Attr)> {
        names::check_removal(call, parent, name)?;
        names::check_new_place(new_parent, new_name)?;
        let terms = Self::terms(call);
        let ctx = self.deleting_ctx(call, terms).await?;
        let tree = self
            .moved_tree(terms, &ctx, parent, name, new_parent)
            .await?;
        let (name, new_name) = (name.to_vec(), new_name.to_vec());
        let plan = move |reads: &dyn Reads| {
            let mv = rename::Move {
                from: parent,
                name: &name,
                to: new_parent,
                new_name: &new_name,
                tree,
                into_trash: false,
            };
            rename::rename(reads, &ctx, mv, flags)
        };
        let changed = [parent, new_parent];
        let changed = &changed[..=usize::from(parent != new_parent)];
        self.plan_in(changed, self.plan(terms, plan)).await
    }

    async fn readdir(
        &self,
        call: &Call,
        ino: Ino,
        from: Cursor,
        limit: usize,
        attrs: bool,
    ) -> Result<DirPage> {
        self.dir_page(call, ino, from, limit, attrs).await
    }

    async fn getattr(&self, call: &Call, ino: Ino) -> Result<Attr> {
        let asked = self.dirs.asked();
        let look = self.look(Self::terms(call), move |reads| reads.node(ino));
        let attr = look.await?.ok_or(Error::NotFound)?;
        self.dirs.told(ino, &attr, asked);
        Ok(attr)
    }

    async fn getattr_lately(
        &self,
        call: &Call,
        ino: Ino,
        trust: Duration,
    ) -> Result<(Attr, Duration)> {
        match self.dirs.recall(ino, trust) {
            Some(known) => Ok(known),
            None => Ok((self.getattr(call, ino).await?, Duration::ZERO)),
        }
    }

    async fn setattr(&self, call: &Call, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        let (set, lists) = (set.clone(), ctx.clone());
        self.plan_with_acls(terms, &lists, move |reads| {
            attrs::setattr(reads, &ctx, ino, &set)
        })
        .await
    }

    async fn open(&self, call: &Call, ino: Ino) -> Result<Attr> {
        self.counting(call, ino, self.getattr(call, ino)).await
    }

    async fn open_to_read(&self, call: &Call, ino: Ino) -> Result<(Attr, Arc<[Slice]>)> {
        let look = self.look(Self::terms(call), move |reads| {
            names::first_look(reads, ino)
        });
        let (attr, slices) = self.counting(call, ino, look).await?;
        Ok((attr, slices.into()))
    }

    fn count_open(&self, call: &Call, ino: Ino) {
        self.opens.lock().insert((call.session, ino));
    }

    async fn close(&self, call: &Call, ino: Ino) -> Result<()> {
        let session = call.session;
        self.opens.lock().remove(&(session, ino));
        let terms = Self::terms(call);
        if !self.is_sustained(terms, session, ino).await? {
            return Ok(());
        }
        let ctx = self.ctx(call, terms).await?;
        self.plan(terms, move |reads| {
            sessions::release(reads, &ctx, session, ino)
        })
        .await?;
        self.sustained.lock().inodes.remove(&(session, ino));
        Ok(())
    }

    async fn getxattr(&self, call: &Call, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let name = name.to_vec();
        self.look(Self::terms(call), move |reads| {
            xattr::get(reads, ino, &name)
        })
        .await
    }

    async fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<Vec<u8>>> {
        self.look(Self::terms(call), move |reads| xattr::list(reads, ino))
            .await
    }

    async fn setxattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        let (name, value) = (name.to_vec(), value.to_vec());
        self.plan(Self::terms(call), move |reads| {
            xattr::set(reads, ino, &name, &value, mode)
        })
        .await
    }

    async fn removexattr(&self, call: &Call, ino: Ino, name: &[u8]) -> Result<()> {
        let name = name.to_vec();
        self.plan(Self::terms(call), move |reads| {
            xattr::remove(reads, ino, &name)
        })
        .await
    }

    async fn acl(&self, call: &Call, ino: Ino, kind: AclKind) -> Result<Acl> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        let lists = ctx.clone();
        self.look_with_acls(terms, &lists, move |reads| acl::get(reads, &ctx, ino, kind))
            .await
    }

    async fn set_acl(
        &self,
        call: &Call,
        ino: Ino,
        kind: AclKind,
        list: Option<&Acl>,
        kill_sgid: bool,
    ) -> Result<Attr> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        let (list, lists) = (list.cloned(), ctx.clone());
        self.plan_with_acls(terms, &lists, move |reads| {
            acl::set(reads, &ctx, ino, kind, list.as_ref(), kill_sgid)
        })
        .await
    }

    async fn read_chunk(&self, call: &Call, ino: Ino, index: u32) -> Result<Arc<[Slice]>> {
        self.look(Self::terms(call), move |reads| reads.chunk(ino, index))
            .await
            .map(Into::into)
    }

    async fn take_slice_ids(&self, call: &Call) -> Result<SliceIds> {
        let ids = self
            .engine
            .take_ids(Self::terms(call), Counter::NextChunk, SLICE_BATCH)
            .await?;
        // 0 is the hole.
        Ok(SliceIds {
            next: SliceId(ids.start.max(1)),
            end: SliceId(ids.end),
        })
    }

    async fn commit(
        &self,
        call: &Call,
        commits: &[SliceCommit],
    ) -> Result<Vec<(Ino, Result<Attr>)>> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        let mut answers = Vec::new();
        for (part, commits) in data::parts(commits, self.engine.most_commits()).enumerate() {
            let ctx = ctx.clone();
            let terms = Terms {
                key: terms.key.map(|key| key.part(part)),
                ..terms
            };
            let plan = move |reads: &dyn Reads| data::commit_all(reads, &ctx, &commits);
            answers.extend(self.plan(terms, plan).await?);
        }
        Ok(answers)
    }

    async fn compact(&self, call: &Call, compaction: &Compaction) -> Result<bool> {
        let terms = Self::terms(call);
        let known = self.known(terms).await?;
        let (ctx, compaction) = (self.ctx_of(call, &known), Arc::new(compaction.clone()));
        let trash = known.format.trash_days > 0;
        self.plan(terms, move |reads| {
            compact::compact(reads, &ctx, &compaction, trash)
        })
        .await
    }

    async fn fallocate(
        &self,
        call: &Call,
        ino: Ino,
        how: Fallocate,
        offset: u64,
        len: u64,
    ) -> Result<Attr> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        self.plan(terms, move |reads| {
            data::fallocate(reads, &ctx, ino, how, offset, len)
        })
        .await
    }

    async fn copy_range(
        &self,
        call: &Call,
        from: Ino,
        from_offset: u64,
        to: Ino,
        to_offset: u64,
        len: u64,
    ) -> Result<(u64, Attr)> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        let from = data::At {
            ino: from,
            offset: from_offset,
        };
        let to = data::At {
            ino: to,
            offset: to_offset,
        };
        let len = len.min(self.engine.most_copied());
        self.plan(terms, move |reads| {
            data::copy_range(reads, &ctx, from, to, len)
        })
        .await
    }

    async fn sync(&self, call: &Call) -> Result<()> {
        self.engine.sync(Self::terms(call)).await
    }

    async fn flock(&self, call: &Call, ino: Ino, owner: u64, kind: LockKind) -> Result<()> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        self.plan(terms, move |reads| {
            locks::flock(reads, &ctx, ino, owner, kind)
        })
        .await
    }

    async fn getlk(
        &self,
        call: &Call,
        ino: Ino,
        owner: u64,
        lock: FileLock,
    ) -> Result<Option<FileLock>> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        self.look(terms, move |reads| {
            locks::getlk(reads, &ctx, ino, owner, lock)
        })
        .await
    }

    async fn setlk(&self, call: &Call, ino: Ino, owner: u64, lock: FileLock) -> Result<()> {
        let terms = Self::terms(call);
        let ctx = self.ctx(call, terms).await?;
        self.plan(terms, move |reads| {
            locks::setlk(reads, &ctx, ino, owner, lock)
        })
        .await
    }

    async fn set_quota(&self, call: &Call, ino: Ino, quota: Quota) -> Result<()> {
        self.set_dir_quota(call, ino, quota).await
    }

    async fn quota(&self, call: &Call, ino: Ino) -> Result<Option<QuotaUsage>> {
        self.look(Self::terms(call), move |reads| quota::get(reads, ino))
            .await
    }

    async fn remove_quota(&self, call: &Call, ino: Ino) -> Result<()> {
        self.plan(Self::terms(call), move |_| quota::remove(ino))
            .await?;
        self.note_quota(ino, false);
        Ok(())
    }

    async fn create_volume(
        &self,
        call: &Call,
        volume: &NewVolume,
    ) -> Result<VolumeRecord, VolumeError> {
        self.make_volume(call, volume).await
    }

    async fn volume(&self, call: &Call, id: &str) -> Result<Option<VolumeRecord>> {
        self.find_volume(call, id).await
    }

    async fn volumes(
        &self,
        call: &Call,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<VolumeRecord>> {
        let terms = Self::terms(call);
        self.known(terms).await?;
        self.engine
            .volumes(terms, after.map(str::to_owned), limit)
            .await
    }

    async fn resize_volume(
        &self,
        call: &Call,
        id: &str,
        capacity: u64,
    ) -> Result<VolumeRecord, VolumeError> {
        self.change_capacity(call, id, capacity).await
    }

    async fn delete_volume(&self, call: &Call, id: &str) -> Result<(), VolumeError> {
        self.remove_volume(call, id).await
    }

    async fn clean_stale_sessions(&self, call: &Call) -> Result<usize> {
        self.end_stale_sessions(call).await
    }

    async fn expire_trash(&self, call: &Call, limit: usize) -> Result<usize> {
        self.expire(call, limit).await
    }

    async fn clean_deleted_files(&self, call: &Call, limit: usize) -> Result<usize> {
        self.take_files_apart(call, limit).await
    }

    async fn dead_slices(&self, call: &Call, limit: usize) -> Result<Vec<(SliceId, u32)>> {
        self.engine.dead_slices(Self::terms(call), limit).await
    }

    async fn forget_slices(&self, call: &Call, slices: &[(SliceId, u32)]) -> Result<()> {
        self.forget(call, slices).await
    }
}

/// Random bytes: a nonce seals one secret of one setting.
fn nonce() -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&uuid::Uuid::new_v4().into_bytes()[..12]);
    nonce
}
