//! The one writer: a thread that takes jobs from a queue and commits many of
//! them in one transaction, each in a savepoint of its own.
//!
//! While one group is being committed the next one gathers, so that the group's
//! size follows the load and a lone job waits for nobody.

use std::time::{Duration, Instant};

use carafe_types::{Error, Result};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::rows::failed;

/// Jobs that may wait; above that callers do.
const QUEUE: usize = 1024;
/// A group ends with this many jobs …
const MAX_JOBS: usize = 256;
/// … or after this time.
const MAX_TIME: Duration = Duration::from_millis(4);

/// Tells a job's caller how the commit went.
type Reply = Box<dyn FnOnce(Result<()>) + Send>;

struct Job {
    deadline: Instant,
    run: Box<dyn FnOnce(&Connection) -> Reply + Send>,
    refuse: Box<dyn FnOnce(Error) + Send>,
}

/// The queue's end for callers.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the thread, which ends with the last `Writer`.
    pub(super) fn start(conn: Connection) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("meta-sqlite".into())
            .spawn(move || serve(&conn, queue))?;
        Ok(Self { jobs })
    }

    /// Runs `work` in a transaction and answers once it is committed.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, answer) = oneshot::channel::<Result<T>>();
        let sender = std::sync::Arc::new(parking_lot::Mutex::new(Some(sender)));
        let refused = sender.clone();
        let send = move |slot: &parking_lot::Mutex<Option<oneshot::Sender<Result<T>>>>, result| {
            // A caller that went away needs no answer.
            if let Some(sender) = slot.lock().take() {
                let _ = sender.send(result);
            }
        };
        let job = Job {
            deadline,
            run: Box::new(move |conn| {
                let outcome = savepoint(conn, work);
                Box::new(move |committed| send(&sender, committed.and(outcome)))
            }),
            refuse: Box::new(move |error| send(&refused, Err(error))),
        };
        let gone = |_| Error::Io("the sqlite writer is gone".into());
        match tokio::time::timeout_at(deadline.into(), self.jobs.send(job)).await {
            Ok(sent) => sent.map_err(|_| Error::Io("the sqlite writer is gone".into()))?,
            Err(_) => return Err(Error::TimedOut("the sqlite writer's queue is full".into())),
        }
        answer.await.map_err(gone)?
    }
}

/// Runs `work`; what it changed before an error is undone.
fn savepoint<T>(conn: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let execute = |sql| {
        conn.prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map_err(failed)
    };
    execute("SAVEPOINT job")?;
    let outcome = work(conn);
    if outcome.is_err() {
        execute("ROLLBACK TO job")?;
    }
    execute("RELEASE job")?;
    outcome
}

fn serve(conn: &Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let Some(first) = begin(conn, first) else {
            continue;
        };
        let started = Instant::now();
        let mut replies = vec![(first.run)(conn)];
        while replies.len() < MAX_JOBS && started.elapsed() < MAX_TIME {
            let Ok(job) = queue.try_recv() else { break };
            replies.push((job.run)(conn));
        }
        let committed = commit(conn);
        for reply in replies {
            reply(committed.clone());
        }
    }
}

/// Opens a transaction for `job`, waiting for other processes until its deadline.
fn begin(conn: &Connection, job: Job) -> Option<Job> {
    loop {
        match conn.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => return Some(job),
            Err(error) => {
                let busy = matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                );
                if !busy || Instant::now() >= job.deadline {
                    (job.refuse)(failed(error));
                    return None;
                }
            }
        }
    }
}

fn commit(conn: &Connection) -> Result<()> {
    conn.execute_batch("COMMIT").map_err(|error| {
        if let Err(also) = conn.execute_batch("ROLLBACK") {
            tracing::warn!("sqlite could not roll back: {also}");
        }
        failed(error)
    })
}
