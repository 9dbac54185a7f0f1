//! Waiting for what was written, and the flusher that bounds how old it gets.

use std::{sync::Arc, time::Duration};

use carafe_types::{Error, Result};
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{file::File, shared::Core};

/// How often the flusher looks.
const TICK: Duration = Duration::from_millis(250);
/// Ticks between two attempts at blocks that failed.
const RETRY_TICKS: u64 = 4;

/// The flusher: ends with the token.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) {
    for tick in 1u64.. {
        let waited = tokio::select! {
            () = stop.cancelled() => return,
            () = core.pressure.notified() => false,
            () = tokio::time::sleep(TICK) => true,
        };
        core.sweep(waited && tick.is_multiple_of(RETRY_TICKS));
        if !waited {
            core.relieve();
            // What was just sealed shall come a little way before more is.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Core {
    /// Seals logs that are half as old as they may get: the other half is for the way
    /// to the store and the engine.
    fn sweep(self: &Arc<Self>, retry: bool) {
        let age = self.config.max_dirty_age / 2;
        for file in self.files.dirty() {
            let mut uploads = Vec::new();
            for queue in file.state.lock().dirty.values_mut() {
                queue.seal(|log| log.born.elapsed() >= age, &mut uploads);
                if retry {
                    queue
                        .logs
                        .iter_mut()
                        .for_each(|log| log.retry(&mut uploads));
                }
            }
            self.start(&file, uploads);
            self.commits.enqueue(&file);
        }
    }

    /// The pool runs out: seals the oldest logs, a quarter of it.
    fn relieve(self: &Arc<Self>) {
        let mut open = Vec::new();
        for file in self.files.dirty() {
            let state = file.state.lock();
            for (index, log) in state
                .dirty
                .iter()
                .flat_map(|(index, queue)| queue.logs.iter().map(move |log| (index, log)))
            {
                if !log.sealed && log.held() > 0 {
                    open.push((log.born, log.held(), *index, log.slice, Arc::clone(&file)));
                }
            }
        }
        open.sort_by_key(|(born, ..)| *born);
        let pool = self.region.pool();
        let mut left = pool.capacity() * pool.page_size() / 4;
        for (_, held, index, slice, file) in open {
            let mut uploads = Vec::new();
            if let Some(queue) = file.state.lock().dirty.get_mut(&index) {
                queue.seal(|log| log.slice == slice, &mut uploads);
            }
            self.start(&file, uploads);
            match left.checked_sub(held) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }

    /// Waits until what is written now is uploaded and committed. The first failure
    /// since is the answer; what it kept stays and is tried again.
    pub(crate) async fn flush_file(
        self: &Arc<Self>,
        file: &Arc<File>,
        deadline: Option<Instant>,
    ) -> Result<()> {
        let mut uploads = Vec::new();
        let (newest, failures) = {
            let mut state = file.state.lock();
            let Some(newest) = state.newest() else {
                return Ok(());
            };
            state.seal_all(&mut uploads);
            (newest, state.failures)
        };
        self.start(file, uploads);
        self.commits.enqueue(file);
        let done = || {
            let state = file.state.lock();
            if state.oldest().is_none_or(|oldest| oldest > newest) {
                return Some(Ok(()));
            }
            (state.failures != failures)
                .then(|| Err(state.failure.clone().unwrap_or(Error::Interrupted)))
        };
        wait(file, deadline, done).await?
    }

    /// Flushes all files until they are clean or `deadline`.
    pub(crate) async fn drain(self: &Arc<Self>, deadline: Instant) -> Result<()> {
        let mut last = Ok(());
        loop {
            let dirty = self.files.dirty();
            if dirty.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return last.and(Err(Error::TimedOut(format!(
                    "{} files are not flushed",
                    dirty.len()
                ))));
            }
            let flushes = dirty
                .iter()
                .map(|file| self.flush_file(file, Some(deadline)));
            last = join_all(flushes).await.into_iter().collect();
            if last.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Waits until `done` answers; it is asked after every change of the file.
pub(crate) async fn wait<T>(
    file: &File,
    deadline: Option<Instant>,
    mut done: impl FnMut() -> Option<T>,
) -> Result<T> {
    loop {
        let changed = file.changed.notified();
        tokio::pin!(changed);
        // Registered before asking, so that no change is missed.
        changed.as_mut().enable();
        if let Some(answer) = done() {
            return Ok(answer);
        }
        match deadline {
            None => changed.await,
            Some(at) => tokio::time::timeout_at(at, changed).await.map_err(|_| {
                Error::TimedOut("written data did not reach the store and the engine".into())
            })?,
        }
    }
}
