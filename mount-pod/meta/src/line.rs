//! The one connection to the server: kept, lost, and made anew with the login of the
//! day.
//!
//! A login is **accepted** once a connection was made with it. A **renewed** one is
//! tried first for each new connection, and the one that was accepted last after it,
//! until the newer is accepted: a Secret and its database change in either order. No
//! more than two are known at a time. A connection that was made stays, whatever
//! becomes of its login, until the server ends it or a newer login is accepted.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    ConnectError,
    engine::Terms,
    retry::{Failure, jitter},
};

/// A server with a login, and how to connect to it.
pub(crate) trait Target: PartialEq + Send + Sync + 'static {
    /// What operations share; its clones are the same connection.
    type Connection: Clone + Send + Sync;

    /// The place without secrets, for people.
    fn place(&self) -> &str;

    /// A new connection, logged in, within `patience`.
    fn dial(
        &self,
        patience: Duration,
    ) -> impl Future<Output = Result<Self::Connection, ConnectError>> + Send;
}

/// The longest pause before an unreachable server is tried again.
const UNREACHABLE: Duration = Duration::from_millis(500);
/// The same for one that refuses the logins: thousands of mounts may ask it.
const REFUSED: Duration = Duration::from_secs(2);

/// A connection that many operations share.
pub(crate) struct Line<T: Target> {
    place: String,
    /// How long one attempt to connect may take.
    patience: Duration,
    targets: Mutex<Targets<T>>,
    state: watch::Sender<State<T::Connection>>,
}

/// The server with the logins that may work.
struct Targets<T> {
    newest: Arc<T>,
    /// The one before; `None` once the newest was accepted.
    accepted: Option<Arc<T>>,
}

/// Connections are numbered, so that one is lost once, however many notice.
enum State<C> {
    Up(u64, C),
    /// Why the one with this number is gone and there is no next one yet.
    Down(u64, String),
}

impl<T: Target> Line<T> {
    /// A line over a first connection.
    pub(crate) fn new(target: T, connection: T::Connection, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            place: target.place().to_owned(),
            patience,
            targets: Mutex::new(Targets {
                newest: Arc::new(target),
                accepted: None,
            }),
            state: watch::Sender::new(State::Up(0, connection)),
        })
    }

    /// The place without secrets.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The newest target.
    pub(crate) fn target(&self) -> Arc<T> {
        self.targets.lock().both().0
    }

    /// The connection and its number; waits for one until the deadline.
    pub(crate) async fn get(&self, terms: Terms) -> Result<(u64, T::Connection), Failure> {
        let mut state = self.state.subscribe();
        let mut up = None;
        let came = state.wait_for(|state| {
            if let State::Up(number, connection) = state {
                up = Some((*number, connection.clone()));
            }
            up.is_some()
        });
        let in_time = tokio::time::timeout_at(terms.deadline.into(), came).await;
        drop(in_time);
        up.ok_or_else(|| Failure::Final(Terms::timed_out(self.complaint())))
    }

    /// The connection with this number is of no more use.
    pub(crate) fn lost(self: &Arc<Self>, number: u64, reason: &str) {
        let is_news = self.state.send_if_modified(|state| {
            let is_this = matches!(state, State::Up(current, _) if *current == number);
            if is_this {
                *state = State::Down(number, reason.to_owned());
            }
            is_this
        });
        if is_news {
            tracing::warn!(engine = self.place, reason, "the connection is lost");
            tokio::spawn(connect_again(Arc::downgrade(self), number));
        }
    }

    /// Takes another login for the same place, and connects with it now. An error says
    /// why it is not accepted yet; it is tried again whenever a connection is made.
    pub(crate) async fn renew(&self, target: T) -> Result<(), ConnectError> {
        let Some(target) = self.targets.lock().renew(target) else {
            return Ok(());
        };
        let connection = target.dial(self.patience).await?;
        self.targets.lock().accept(&target);
        // Whoever still waits for an answer on the former one gets it there.
        self.state.send_modify(|state| {
            let (State::Up(number, _) | State::Down(number, _)) = state;
            *state = State::Up(*number + 1, connection);
        });
        Ok(())
    }

    /// Connects with the newest login, or else with the one accepted last.
    async fn dial(&self) -> Result<T::Connection, ConnectError> {
        let (newest, accepted) = self.targets.lock().both();
        let failed = match newest.dial(self.patience).await {
            Ok(connection) => {
                self.targets.lock().accept(&newest);
                return Ok(connection);
            }
            Err(error) => error,
        };
        match accepted {
            Some(accepted) => accepted.dial(self.patience).await.map_err(|_| failed),
            None => Err(failed),
        }
    }

    fn is_down(&self, number: u64) -> bool {
        matches!(&*self.state.borrow(), State::Down(lost, _) if *lost == number)
    }

    /// Puts a new connection into the place of the lost one.
    fn restore(&self, lost: u64, connection: T::Connection) {
        let is_restored = self.state.send_if_modified(|state| {
            let is_this = matches!(state, State::Down(number, _) if *number == lost);
            if is_this {
                *state = State::Up(lost + 1, connection);
            }
            is_this
        });
        if is_restored {
            tracing::info!(engine = self.place, "connected again");
        }
    }

    /// Notes why there is no connection yet (nobody is woken by that); `true` if that
    /// is news.
    fn note(&self, lost: u64, error: &ConnectError) -> bool {
        let (said, mut is_news) = (error.to_string(), false);
        self.state.send_if_modified(|state| {
            if let State::Down(number, reason) = state
                && *number == lost
                && *reason != said
            {
                *reason = said;
                is_news = true;
            }
            false
        });
        is_news
    }

    fn complaint(&self) -> String {
        match &*self.state.borrow() {
            State::Down(_, reason) => reason.clone(),
            State::Up(..) => format!("{} did not answer", self.place),
        }
    }
}

impl<T: PartialEq> Targets<T> {
    /// Puts a target before the others, unless it is in use already.
    fn renew(&mut self, target: T) -> Option<Arc<T>> {
        let is_known = *self.newest == target;
        if is_known && self.accepted.is_none() {
            return None;
        }
        if !is_known {
            let before = std::mem::replace(&mut self.newest, Arc::new(target));
            self.accepted.get_or_insert(before);
        }
        Some(Arc::clone(&self.newest))
    }

    /// A connection was made with `target`.
    fn accept(&mut self, target: &Arc<T>) {
        if Arc::ptr_eq(&self.newest, target) {
            self.accepted = None;
        }
    }

    fn both(&self) -> (Arc<T>, Option<Arc<T>>) {
        (Arc::clone(&self.newest), self.accepted.clone())
    }
}

/// Tries until there is a connection again, or nobody is left who wants one.
async fn connect_again<T: Target>(line: Weak<Line<T>>, lost: u64) {
    let mut pause = Duration::from_millis(10);
    while let Some(line) = line.upgrade()
        && line.is_down(lost)
    {
        let error = match line.dial().await {
            Ok(connection) => return line.restore(lost, connection),
            Err(error) => error,
        };
        let is_refusal = matches!(error, ConnectError::Refused { .. });
        if line.note(lost, &error) {
            tracing::warn!(%error, "not connected yet; operations wait");
        }
        drop(line);
        tokio::time::sleep(pause + jitter(pause)).await;
        let most = if is_refusal { REFUSED } else { UNREACHABLE };
        pause = (pause * 2).min(most);
    }
}
