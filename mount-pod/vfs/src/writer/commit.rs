//! Records into the engine: one transaction for as many logs and files as are ready.
//!
//! Everything whose order matters is here. One task commits, so that two batches
//! never overtake each other. Within a chunk, records stand in the order of the
//! queue, which is the order of the writes. A batch whose fate is not known is sent
//! again as it is, under the same idempotency key, before any other.

use std::{collections::HashMap, sync::Arc, sync::atomic::Ordering, time::Duration};

use carafe_meta::{Call, OpKey, SliceCommit};
use carafe_types::{Attr, Error, Ino, Result};
use tokio_util::sync::CancellationToken;

use crate::{
    file::{File, queue::Garbage},
    shared::Core,
};

/// The slot of the idempotency key that commits use: no request has it.
const SLOT: u32 = u32::MAX;
/// Records in one transaction, about: a file's are never cut apart.
const MAX_RECORDS: usize = 1000;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One transaction.
struct Batch {
    files: Vec<Arc<File>>,
    commits: Vec<SliceCommit>,
}

/// The committer.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(core.commits.woken())
        .await
        .is_some()
    {
        while let Some(batch) = core.next_batch() {
            if stop.run_until_cancelled(core.commit(batch)).await.is_none() {
                return;
            }
        }
    }
}

impl Core {
    fn next_batch(&self) -> Option<Batch> {
        let mut batch = Batch {
            files: Vec::new(),
            commits: Vec::new(),
        };
        for file in self.commits.take_all() {
            if batch.commits.len() >= MAX_RECORDS {
                self.commits.enqueue(&file);
            } else if take_ready(&file, &mut batch.commits) {
                batch.files.push(file);
            }
        }
        (!batch.files.is_empty()).then_some(batch)
    }

    /// Commits a batch, however often it takes.
    async fn commit(self: &Arc<Self>, batch: Batch) {
        let sequence = self.orders.fetch_add(1, Ordering::Relaxed);
        let key = OpKey {
            session: self.session(),
            slot: SLOT,
            sequence,
        };
        let call = Call {
            key: Some(key),
            ..self.own_call()
        };
        let mut pause = Duration::from_millis(20);
        loop {
            match self.meta.commit(&call, &batch.commits).await {
                Ok(answers) => return self.settle(&batch, answers.into_iter().collect()),
                Err(error) if is_final(&error) => return self.settle_all(&batch, &error),
                Err(error) => self.report(&batch, &error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tells the files of a batch that failed, and those that wait behind it: whoever
    /// flushes one must not wait as long as the engine is away.
    fn report(&self, batch: &Batch, error: &Error) {
        tracing::warn!(%error, files = batch.files.len(), "a commit failed and will be tried again");
        for file in batch.files.iter().chain(&self.commits.waiting()) {
            file.state.lock().fail(error.clone());
            file.changed.notify_waiters();
        }
    }

    fn settle_all(self: &Arc<Self>, batch: &Batch, error: &Error) {
        let answers = batch
            .files
            .iter()
            .map(|file| (file.ino, Err(error.clone())))
            .collect();
        self.settle(batch, answers);
    }

    fn settle(self: &Arc<Self>, batch: &Batch, mut answers: HashMap<Ino, Result<Attr>>) {
        for file in &batch.files {
            let answer = answers
                .remove(&file.ino)
                .unwrap_or_else(|| Err(Error::Io("a commit was not answered".into())));
            match answer {
                Ok(attr) => {
                    self.recent.changed(file.ino);
                    committed(file, attr, &batch.commits);
                    let own = batch.commits.iter().filter(|commit| commit.ino == file.ino);
                    own.for_each(|commit| {
                        self.saw_commit(file.ino, commit.index, commit.slice.id);
                    });
                }
                Err(error) => self.refused(file, error),
            }
            file.changed.notify_waiters();
            self.commits.enqueue(file);
            self.files.forget_idle(file);
        }
    }

    /// The engine will never take these records: their bytes are given up.
    fn refused(self: &Arc<Self>, file: &Arc<File>, error: Error) {
        let mut garbage: Vec<Garbage> = Vec::new();
        let mut state = file.state.lock();
        state.committing = false;
        for queue in state.dirty.values_mut() {
            garbage.extend(
                queue
                    .remove_committing()
                    .iter()
                    .map(|log| (log.slice, log.size())),
            );
        }
        if error == Error::NotFound {
            state.cut(0, &mut garbage);
        }
        state.settle();
        // Nobody misses what was written to a file that nobody can open again.
        if error != Error::NotFound || state.opens > 0 {
            tracing::error!(ino = %file.ino, %error, "written data was refused and is lost");
            state.lose(error);
        }
        state.version += 1;
        drop(state);
        self.notices.inode(self.outer(file.ino));
        self.discard(garbage);
    }
}

/// Adds what a file has ready. Whether it has anything.
fn take_ready(file: &File, commits: &mut Vec<SliceCommit>) -> bool {
    let mut state = file.state.lock();
    if state.held || state.committing {
        return false;
    }
    let before = commits.len();
    for (&index, queue) in &mut state.dirty {
        let records = queue.take_ready().into_iter();
        commits.extend(records.map(|(slice, mtime)| SliceCommit {
            ino: file.ino,
            index,
            slice,
            mtime,
        }));
    }
    state.committing = commits.len() > before;
    state.committing
}

fn committed(file: &File, attr: Attr, commits: &[SliceCommit]) {
    let mut done = Vec::new();
    let mut state = file.state.lock();
    state.committing = false;
    state.changed_by_us(attr);
    let indices: Vec<_> = state.dirty.keys().copied().collect();
    for index in indices {
        let own = commits
            .iter()
            .filter(|commit| commit.ino == file.ino && commit.index == index);
        let records: Vec<_> = own.map(|commit| commit.slice).collect();
        if !records.is_empty() {
            state.extend_list(index, &records);
            done.extend(
                state
                    .dirty
                    .get_mut(&index)
                    .map(super::super::file::queue::Queue::remove_committing),
            );
        }
    }
    state.settle();
    drop(state);
    drop(done);
}

/// Whether asking again can never help.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Io(_)
        | Error::TimedOut(_)
        | Error::Stale(_)
        | Error::WouldBlock
        | Error::Interrupted => false,
        Error::NotFound
        | Error::Exists
        | Error::NotDirectory
        | Error::IsDirectory
        | Error::NotEmpty
        | Error::PermissionDenied
        | Error::NotPermitted
        | Error::Invalid
        | Error::NameTooLong
        | Error::TooLarge
        | Error::NoSpace
        | Error::QuotaExceeded
        | Error::ReadOnly
        | Error::CrossDevice
        | Error::TooManyLinks
        | Error::BadHandle
        | Error::NoAttribute
        | Error::OutOfRange
        | Error::NoSuchOffset
        | Error::Deadlock
        | Error::Unsupported
        | Error::NotImplemented => true,
    }
}
