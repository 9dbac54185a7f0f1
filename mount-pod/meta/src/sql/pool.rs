//! Connections: at most so many, made as they are needed, and kept for a while.
//!
//! A connection belongs to one caller at a time and comes back only when all that
//! was sent on it was answered; otherwise it is closed. Connections are of a
//! **generation**: a loss or a renewed login ends it, and none of an older one is
//! used again, since what ended one of them most likely ended them all.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::{
    driver::{Connection, Driver, Target},
    login::Logins,
    names::Names,
};
use crate::{ConnectError, engine::Terms, retry::jitter};
use carafe_types::Result;

/// An idle connection is closed after this time: thousands of clients may share a server.
const IDLE: Duration = Duration::from_mins(1);
/// The longest pause before an unreachable server is tried again.
const UNREACHABLE: Duration = Duration::from_millis(500);
/// The same for one that refuses the logins: thousands of mounts may ask it.
const REFUSED: Duration = Duration::from_secs(2);

/// The connections to one server.
pub(super) struct Pool<D: Driver> {
    place: String,
    names: Names,
    /// How long one attempt to connect may take.
    patience: Duration,
    logins: Logins<D::Target>,
    permits: Semaphore,
    idle: Mutex<Vec<Idle<D::Connection>>>,
    generation: AtomicU64,
    /// Tells those who wait for the server that a login was renewed.
    renewed: Notify,
    /// Why the last attempt to connect failed, until one succeeds.
    complaint: Mutex<Option<String>>,
}

struct Idle<C> {
    generation: u64,
    since: Instant,
    connection: C,
}

/// A connection on loan.
pub(super) struct Loan<'a, D: Driver> {
    pool: &'a Pool<D>,
    generation: u64,
    pub(super) connection: D::Connection,
    _permit: SemaphorePermit<'a>,
}

impl<D: Driver> Pool<D> {
    /// A pool with its first connection.
    pub(super) fn new(target: D::Target, connection: D::Connection, patience: Duration) -> Self {
        let idle = Idle {
            generation: 0,
            since: Instant::now(),
            connection,
        };
        Self {
            place: target.common().place.clone(),
            names: target.common().names.clone(),
            patience,
            permits: Semaphore::new(target.common().connections),
            logins: Logins::new(target),
            idle: Mutex::new(vec![idle]),
            generation: AtomicU64::new(0),
            renewed: Notify::new(),
            complaint: Mutex::default(),
        }
    }

    /// The place without secrets.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// What the tables are called.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// A connection; waits for one until the deadline.
    pub(super) async fn get(&self, terms: Terms) -> Result<Loan<'_, D>> {
        let permit = self.permits.acquire();
        let Ok(Ok(permit)) = tokio::time::timeout_at(terms.deadline.into(), permit).await else {
            return Err(Terms::timed_out(self.complaint()));
        };
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect(terms).await?,
        };
        let generation = self.generation.load(Ordering::Acquire);
        Ok(Loan {
            pool: self,
            generation,
            connection,
            _permit: permit,
        })
    }

    fn take_idle(&self) -> Option<D::Connection> {
        let generation = self.generation.load(Ordering::Acquire);
        let mut idle = self.idle.lock();
        while let Some(last) = idle.pop() {
            if last.generation == generation && !last.connection.is_closed() {
                return Some(last.connection);
            }
        }
        None
    }

    /// Connects, again and again until the deadline.
    async fn connect(&self, terms: Terms) -> Result<D::Connection> {
        let mut pause = Duration::from_millis(10);
        loop {
            let renewed = self.renewed.notified();
            let attempt = tokio::time::timeout_at(terms.deadline.into(), self.dial()).await;
            let error = match attempt {
                Ok(Ok(connection)) => {
                    if self.complaint.lock().take().is_some() {
                        tracing::info!(engine = self.place, "connected again");
                    }
                    return Ok(connection);
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(Terms::timed_out(self.complaint())),
            };
            self.complain(&error);
            let until = Instant::now() + pause + jitter(pause);
            let in_time = until.min(terms.deadline);
            tokio::select! {
                () = tokio::time::sleep_until(in_time.into()) => {}
                () = renewed => {}
            }
            if Instant::now() >= terms.deadline {
                return Err(Terms::timed_out(error));
            }
            let is_refusal = matches!(error, ConnectError::Refused { .. });
            let most = if is_refusal { REFUSED } else { UNREACHABLE };
            pause = (pause * 2).min(most);
        }
    }

    /// Connects with the newest login, or else with the one accepted last.
    async fn dial(&self) -> Result<D::Connection, ConnectError> {
        let (newest, accepted) = self.logins.both();
        let failed = match D::dial(&newest, self.patience).await {
            Ok(connection) => {
                if self.logins.accept(&newest) {
                    self.end_generation();
                }
                return Ok(connection);
            }
            Err(error) => error,
        };
        match accepted {
            Some(accepted) => D::dial(&accepted, self.patience).await.map_err(|_| failed),
            None => Err(failed),
        }
    }

    /// Takes another login for the same place, and connects with it now. An error says
    /// why it is not accepted yet; it is tried again whenever a connection is made.
    pub(super) async fn renew(&self, target: D::Target) -> Result<(), ConnectError> {
        let Some(target) = self.logins.renew(target) else {
            return Ok(());
        };
        let connection = D::dial(&target, self.patience).await?;
        self.logins.accept(&target);
        self.end_generation();
        self.put_back(self.generation.load(Ordering::Acquire), connection);
        self.renewed.notify_waiters();
        Ok(())
    }

    /// Closes what is idle; what is on loan follows as it comes back.
    fn end_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.idle.lock().clear();
    }

    fn put_back(&self, generation: u64, connection: D::Connection) {
        if connection.is_closed() || generation != self.generation.load(Ordering::Acquire) {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock();
        idle.retain(|idle| now.duration_since(idle.since) < IDLE);
        idle.push(Idle {
            generation,
            since: now,
            connection,
        });
    }

    fn complain(&self, error: &ConnectError) {
        let said = error.to_string();
        let mut complaint = self.complaint.lock();
        if complaint.as_ref() != Some(&said) {
            tracing::warn!(%error, "not connected; operations wait");
            *complaint = Some(said);
        }
    }

    fn complaint(&self) -> String {
        let complaint = self.complaint.lock().clone();
        complaint.unwrap_or_else(|| format!("{} did not answer", self.place))
    }
}

impl<D: Driver> Loan<'_, D> {
    /// All that was sent was answered: the next one may have it.
    pub(super) fn give_back(self) {
        self.pool.put_back(self.generation, self.connection);
    }

    /// The connection is lost, and so, most likely, are its fellows.
    pub(super) fn lost(self, reason: &str) {
        let pool = self.pool;
        let is_news = pool
            .generation
            .compare_exchange(
                self.generation,
                self.generation + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok();
        if is_news {
            tracing::warn!(engine = pool.place, reason, "a connection is lost");
            pool.idle.lock().clear();
        }
    }
}
