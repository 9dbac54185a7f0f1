//! Requests that wait for a lock, and the kernel's wish to end the wait.
//!
//! Only waiting locks are ended: another operation may have taken effect, and an
//! application does not expect EINTR from a file. An interrupt can overtake its
//! request between two threads, so early ones are remembered for a while.

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
    waiting: HashMap<u64, CancellationToken>,
    early: VecDeque<u64>,
}

impl Interrupts {
    /// Registers a request that may wait; its token says when to stop.
    pub(super) fn waits(&self, unique: u64) -> CancellationToken {
        let token = CancellationToken::new();
        let mut state = self.state.lock();
        if state.early.contains(&unique) {
            token.cancel();
        }
        state.waiting.insert(unique, token.clone());
        token
    }

    /// The request was answered.
    pub(super) fn done(&self, unique: u64) {
        self.state.lock().waiting.remove(&unique);
    }

    /// The kernel wants request `unique` to end.
    pub(super) fn interrupt(&self, unique: u64) {
        let mut state = self.state.lock();
        if let Some(token) = state.waiting.get(&unique) {
            return token.cancel();
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
    }
}
