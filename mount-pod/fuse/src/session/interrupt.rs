//! Requests that wait for a lock, and the kernel's wish to end the wait.
//!
//! Only waiting locks are ended: another operation may have taken effect, and an
//! application does not expect EINTR from a file. An interrupt can overtake its
//! request between two threads, so early ones are remembered for a while.
//!
//! A session that stops **abandons** the waits: those requests are not answered, since
//! a successor goes on waiting in their slots.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How many early interrupts are remembered.
const EARLY: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Interrupts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u64, Wait>,
    early: VecDeque<u64>,
    abandoned: bool,
}

#[derive(Debug)]
struct Wait {
    token: CancellationToken,
    interrupted: bool,
}

impl Interrupts {
    /// Registers a request that may wait; its token says when to stop.
    pub(super) fn waits(&self, unique: u64) -> CancellationToken {
        let token = CancellationToken::new();
        let mut state = self.state.lock();
        let interrupted = state.early.contains(&unique);
        if interrupted || state.abandoned {
            token.cancel();
        }
        state.waiting.insert(
            unique,
            Wait {
                token: token.clone(),
                interrupted,
            },
        );
        token
    }

    /// The wait is over. Says whether it was abandoned: if it ended without the lock
    /// then, that is no answer.
    pub(super) fn done(&self, unique: u64) -> bool {
        let mut state = self.state.lock();
        let interrupted = state
            .waiting
            .remove(&unique)
            .is_some_and(|wait| wait.interrupted);
        state.abandoned && !interrupted
    }

    /// Ends every wait, now and later, for a successor to go on.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        state.abandoned = true;
        state.waiting.values().for_each(|wait| wait.token.cancel());
    }

    /// The kernel wants request `unique` to end.
    pub(super) fn interrupt(&self, unique: u64) {
        let mut state = self.state.lock();
        if let Some(wait) = state.waiting.get_mut(&unique) {
            wait.interrupted = true;
            return wait.token.cancel();
        }
        if state.early.len() == EARLY {
            state.early.pop_front();
        }
        state.early.push_back(unique);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_reaches_its_request_also_when_it_comes_first() {
        let interrupts = Interrupts::default();
        let late = interrupts.waits(1);
        interrupts.interrupt(1);
        interrupts.interrupt(2);
        assert!(late.is_cancelled() && interrupts.waits(2).is_cancelled());
        assert!(!interrupts.waits(3).is_cancelled(), "others wait on");
        assert!(!interrupts.done(1), "what the kernel ended is answered");
    }

    #[test]
    fn what_is_abandoned_is_not_answered_unless_the_kernel_ended_it() {
        let interrupts = Interrupts::default();
        let (ended, left) = (interrupts.waits(1), interrupts.waits(2));
        interrupts.interrupt(1);
        interrupts.abandon();
        assert!(ended.is_cancelled() && left.is_cancelled() && interrupts.waits(3).is_cancelled());
        assert_eq!(
            [1, 2, 3].map(|unique| interrupts.done(unique)),
            [false, true, true]
        );
    }
}
