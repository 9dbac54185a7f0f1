//! A round: every chore once, within a budget.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_meta::{Call, Meta};
use carafe_object::ObjectStore;
use carafe_types::Error;
use tokio_util::sync::CancellationToken;

use crate::Chore;

/// How much a round may do.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The most entries, files or slices of one step; bounds memory and transactions.
    pub step: usize,
    /// The most time for one chore.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            step: 1000,
            time: Duration::from_mins(10),
        }
    }
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sessions that were ended.
    pub sessions: usize,
    /// Entries of the trash and of tombstones that were removed.
    pub trash: usize,
    /// Slices of deleted files that lost a reference.
    pub deleted: usize,
    /// Slices whose objects were deleted.
    pub slices: usize,
    /// Chores that stopped with an error; the others were done all the same.
    pub failures: Vec<(Chore, Error)>,
    /// Whether something is known to be left.
    pub more: bool,
}

impl Report {
    fn count(&mut self, chore: Chore, done: usize) {
        match chore {
            Chore::StaleSessions => self.sessions += done,
            Chore::Trash => self.trash += done,
            Chore::DeletedFiles => self.deleted += done,
            Chore::DeadSlices => self.slices += done,
        }
    }
}

/// The background work of one volume.
pub struct Jobs {
    pub(crate) meta: Arc<dyn Meta>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) call: Call,
}

impl Jobs {
    /// The work of the volume that this engine and this store hold.
    pub fn new(meta: Arc<dyn Meta>, objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            meta,
            objects,
            call: Call::internal(),
        }
    }

    /// Does every chore once. Cancelling ends it after the step under way.
    pub async fn round(&self, budget: Budget, cancel: &CancellationToken) -> Report {
        let mut report = Report::default();
        for chore in Chore::ALL {
            if let Err(error) = self.chore(chore, budget, cancel, &mut report).await {
                tracing::warn!(?chore, %error, "background work stopped and is tried again in the next round");
                // The engine does not answer: the other chores would wait as long.
                let is_silent = matches!(error, Error::TimedOut(_));
                report.failures.push((chore, error));
                if is_silent {
                    break;
                }
            }
        }
        report
    }

    async fn chore(
        &self,
        chore: Chore,
        budget: Budget,
        cancel: &CancellationToken,
        report: &mut Report,
    ) -> Result<(), Error> {
        let until = Instant::now() + budget.time;
        while !cancel.is_cancelled() {
            let (done, more) = self.step(chore, budget.step).await?;
            report.count(chore, done);
            if !more {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
        }
        report.more = true;
        Ok(())
    }
}
