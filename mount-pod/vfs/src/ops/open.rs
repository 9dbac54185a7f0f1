//! Opening, making and closing files.
//!
//! Close-to-open: what another client closed before is seen by who opens after. An
//! open asks the engine for the attributes; if they are not what was known, cached
//! slice lists and the kernel's pages are old.

use std::{sync::Arc, time::Instant};

use carafe_meta::{Call, FileLock, LockKind, LockRange, NewNode, SetAttr};
use carafe_types::{Attr, Error, FileType, Ino, Result};

use crate::{
    Created, OpenFlags, Opened, Vfs, file::File, handle::Kind, reader::ahead::Ahead, recent::Asked,
    shared::Core,
};

impl Vfs {
    /// Opens a file. `O_TRUNC` truncates it, in order with writes.
    pub async fn open(&self, call: &Call, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        let core = &self.core;
        core.permit_open(call, ino, flags).await?;
        if let Some(node) = core.internal_node(ino) {
            let kind = Kind::Virtual(core.internal_content(node));
            let handle = core.handles.open(&core.region, ino, flags, kind)?;
            return Ok(Opened {
                handle,
                attr: None,
                keep_cache: false,
                direct_io: true,
                cache_listing: false,
            });
        }
        if flags.writable() || flags.truncate() {
            core.check_writable()?;
        }
        let inner = core.inner(ino)?;
        let reads = flags.readable() && !flags.truncate();
        let first = if reads { First::ToRead } else { First::Unknown };
        let (file, keep_cache) = core.open_file(call, inner, first).await?;
        if reads {
            core.look_ahead(&file);
        }
        core.finish_open(call, file, flags, keep_cache).await
    }

    /// Opens `name`, making it if it is not there (`O_CREAT`).
    pub async fn create(
        &self,
        call: &Call,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u16,
        flags: OpenFlags,
    ) -> Result<Created> {
        let core = &self.core;
        let parent = core.changing(parent, name)?;
        core.permit_create(call, parent, name, flags).await?;
        let node = NewNode {
            kind: FileType::File,
            mode: (mode & 0o7777) as u16,
            umask: umask | core.config.umask,
            ..NewNode::default()
        };
        let asked = core.recent.asked();
        // Not truncated there: what is dirty here must be cut off in the same order.
        let (ino, attr, made) = core
            .meta
            .create_open(call, parent, name, &node, flags.exclusive(), false)
            .await?;
        if attr.kind != FileType::File {
            return Err(if attr.is_dir() {
                Error::IsDirectory
            } else {
                Error::Exists
            });
        }
        // The key was the creation's; what follows may be done again.
        let call = &unkeyed(call);
        let (file, keep_cache) = core
            .open_file(call, ino, First::Told(attr.clone(), asked))
            .await?;
        let flags = if made {
            flags.without_truncate()
        } else {
            flags
        };
        let opened = core
            .finish_open(call, Arc::clone(&file), flags, keep_cache && !made)
            .await?;
        let attr = opened.attr.clone().unwrap_or(attr);
        Ok(Created {
            entry: core.entry(ino, attr),
            opened,
        })
    }

    /// close(2): everything of the file that was written is uploaded and committed,
    /// or the error is told. `owner`'s POSIX locks of the file go.
    pub async fn flush(&self, call: &Call, ino: Ino, handle: u64, owner: u64) -> Result<()> {
        let core = &self.core;
        let handle = core.handles.find(ino, handle)?;
        if matches!(handle.kind, Kind::Virtual(_)) {
            return Ok(());
        }
        let (file, _) = handle.file()?;
        let flushed = if handle.flags.writable() {
            core.flush_file(file, call.deadline.map(Into::into)).await
        } else {
            Ok(())
        };
        core.drop_posix_locks(&unkeyed(call), file, owner).await;
        handle.tell_loss()?;
        flushed
    }

    /// The last reference to the handle is gone. `flock_owner` names a BSD lock that
    /// was taken through it and goes now. Errors have nobody to be told to.
    pub async fn release(
        &self,
        call: &Call,
        ino: Ino,
        handle: u64,
        flock_owner: Option<u64>,
    ) -> Result<()> {
        let core = &self.core;
        let handle = core.handles.close(ino, handle)?;
        let Kind::File { file, ahead } = &handle.kind else {
            return Ok(());
        };
        ahead.close();
        let call = &unkeyed(call);
        if let Some(owner) = flock_owner {
            let dropped = core
                .meta
                .flock(call, file.ino, owner, LockKind::Unlock)
                .await;
            log_failure(file.ino, "a lock was not dropped at close", dropped);
        }
        // Pages that the kernel wrote back after the close.
        if handle.flags.writable() {
            let flushed = core.flush_file(file, call.deadline.map(Into::into)).await;
            log_failure(
                file.ino,
                "data written after the close is not yet flushed",
                flushed,
            );
        }
        core.close_file(call, file).await;
        Ok(())
    }
}

/// What an open begins with.
pub(crate) enum First {
    /// The engine just said this of the file, and when it was asked.
    Told(Attr, Asked),
    /// Nothing, and the file will be read.
    ToRead,
    /// Nothing.
    Unknown,
}

impl Core {
    /// Counts an open. Whether what the kernel has cached is still true.
    pub(crate) async fn open_file(
        &self,
        call: &Call,
        ino: Ino,
        first: First,
    ) -> Result<(Arc<File>, bool)> {
        loop {
            let file = self.files.find_or_make(ino);
            let _opening = file.opening.lock().await;
            let (gone, opens, asked) = {
                let state = file.state.lock();
                (state.gone, state.opens, state.version)
            };
            if gone {
                continue;
            }
            let is_told = matches!(first, First::Told(..));
            let trusted = self.trusted(&file, opens).filter(|_| !is_told);
            let mut list = None;
            let attr = match (&first, &trusted) {
                (First::Told(attr, told), _) if !self.recent.since(ino, *told) => Ok(attr.clone()),
                (First::ToRead | First::Unknown, Some((attr, _))) => {
                    self.meta.count_open(call, ino);
                    Ok(attr.clone())
                }
                (First::ToRead, None) if opens == 0 => {
                    let found = self.meta.open_to_read(call, ino).await;
                    found.map(|(attr, slices)| {
                        list = Some(slices).filter(|_| attr.length > 0);
                        attr
                    })
                }
                (First::Unknown, None) if opens == 0 => self.meta.open(call, ino).await,
                _ => self.meta.getattr(call, ino).await,
            };
            match attr.and_then(regular) {
                Ok(attr) => {
                    let keep_cache = self.count_open(&file, &attr, asked);
                    if let Some(list) = list {
                        self.saw_list(ino, 0, &list);
                        file.state.lock().keep_list(0, &list, asked);
                    }
                    // What was not asked anew is as old as it was.
                    if let Some((_, at)) = trusted {
                        file.state.lock().told = Some(at);
                    }
                    return Ok((Arc::clone(&file), keep_cache));
                }
                Err(error) => {
                    self.files.forget_idle(&file);
                    return Err(error);
                }
            }
        }
    }

    /// What is known of a file that is about to be opened, if the mount trusts that for
    /// so long.
    fn trusted(&self, file: &File, opens: u32) -> Option<(Attr, Instant)> {
        let trust = self.config.open_timeout;
        if trust.is_zero() {
            return None;
        }
        if opens == 0 {
            let (attr, told, asked) = self.files.recall(file.ino, trust)?;
            return (!self.recent.since(file.ino, asked)).then_some((attr, told));
        }
        let state = file.state.lock();
        let told = state.told.filter(|told| told.elapsed() < trust)?;
        let attr = state.attr.clone().filter(|_| !state.stale)?;
        Some((attr, told))
    }

    fn count_open(&self, file: &File, attr: &Attr, asked: u64) -> bool {
        let mut state = file.state.lock();
        let fresh = state.attr.is_none();
        let same = state.learn(attr, asked);
        state.opens += 1;
        // Whoever is told not to keep its pages has none that are old.
        let stale = std::mem::take(&mut state.stale);
        if fresh {
            self.files.unchanged(file.ino, attr)
        } else {
            same && !stale
        }
    }

    async fn finish_open(
        self: &Arc<Self>,
        call: &Call,
        file: Arc<File>,
        flags: OpenFlags,
        keep_cache: bool,
    ) -> Result<Opened> {
        let opened = self.truncate_and_publish(call, &file, flags).await;
        match opened {
            Ok(handle) => Ok(Opened {
                handle,
                attr: file.state.lock().known(),
                keep_cache: keep_cache && !flags.truncate(),
                direct_io: false,
                cache_listing: false,
            }),
            Err(error) => {
                self.close_file(call, &file).await;
                Err(error)
            }
        }
    }

    async fn truncate_and_publish(
        self: &Arc<Self>,
        call: &Call,
        file: &Arc<File>,
        flags: OpenFlags,
    ) -> Result<u64> {
        if flags.truncate() {
            let set = SetAttr {
                size: Some(0),
                kill_suid: self.checks(call),
                ..SetAttr::default()
            };
            self.setattr_in_order(call, file, &set).await?;
        }
        let kind = Kind::File {
            file: Arc::clone(file),
            ahead: Arc::new(Ahead::default()),
        };
        self.handles
            .open(&self.region, self.outer(file.ino), flags, kind)
    }

    /// Counts a close; the last one tells the engine.
    pub(crate) async fn close_file(&self, call: &Call, file: &Arc<File>) {
        let _opening = file.opening.lock().await;
        let asked = self.recent.asked();
        let (last, attr, told) = {
            let mut state = file.state.lock();
            state.opens = state.opens.saturating_sub(1);
            (
                state.opens == 0,
                state.attr.clone().filter(|_| !state.stale),
                state.told,
            )
        };
        if last {
            log_failure(
                file.ino,
                "a close was not told to the engine",
                self.meta.close(call, file.ino).await,
            );
            self.files.remember(file.ino, attr.as_ref(), told, asked);
            self.files.forget_idle(file);
        }
    }

    async fn drop_posix_locks(&self, call: &Call, file: &File, owner: u64) {
        if !file.state.lock().posix_locked {
            return;
        }
        let range = LockRange {
            start: 0,
            end: i64::MAX as u64,
        };
        let lock = FileLock {
            kind: LockKind::Unlock,
            range,
            pid: call.pid,
        };
        log_failure(
            file.ino,
            "locks were not dropped at close",
            self.meta.setlk(call, file.ino, owner, lock).await,
        );
    }
}

/// A key names one mutation: the others of the same request go without, and are such
/// that doing them twice changes nothing.
fn unkeyed(call: &Call) -> Call {
    Call {
        key: None,
        ..call.clone()
    }
}

fn regular(attr: Attr) -> Result<Attr> {
    match attr.kind {
        FileType::File => Ok(attr),
        FileType::Directory => Err(Error::IsDirectory),
        FileType::Symlink
        | FileType::Fifo
        | FileType::BlockDevice
        | FileType::CharDevice
        | FileType::Socket => Err(Error::Invalid),
    }
}

fn log_failure(ino: Ino, what: &str, result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%ino, %error, "{what}");
    }
}
