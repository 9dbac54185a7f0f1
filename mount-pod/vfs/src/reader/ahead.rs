//! Read-ahead of one handle: a **window** that doubles while reads are sequential,
//! and closes when they jump or the handle does.

use std::{collections::VecDeque, ops::Range};

use carafe_chunk::{Access, Prefetch};
use parking_lot::Mutex;

/// Requests of one sequential reader overtake each other by this much.
const SLACK: u64 = 4 << 20;

/// What a handle's reads looked like.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where a sequential reader reads next.
    next: u64,
    window: u64,
    /// What was asked for ends here.
    until: u64,
    /// Changes when the reader jumps: what was on its way then is not kept.
    turn: u64,
    under_way: VecDeque<(u64, Prefetch)>,
}

impl State {
    /// The range to prefetch after a read.
    fn next_range(&mut self, offset: u64, len: u64, first: u64, most: u64) -> Option<Range<u64>> {
        let sequential = offset <= self.next + SLACK.min(self.window)
            && offset + SLACK.min(self.window) >= self.next;
        if !sequential {
            *self = Self {
                next: offset + len,
                turn: self.turn + 1,
                ..Self::default()
            };
            return None;
        }
        self.next = self.next.max(offset + len);
        while self
            .under_way
            .front()
            .is_some_and(|(end, _)| *end <= offset)
        {
            self.under_way.pop_front();
        }
        if self.window > 0 && self.until > self.next + self.window / 2 {
            return None;
        }
        self.window = if self.window == 0 {
            first
        } else {
            self.window * 2
        }
        .min(most);
        let range = self.until.max(self.next)..self.next + self.window;
        self.until = self.until.max(range.end);
        (!range.is_empty()).then_some(range)
    }
}

impl Ahead {
    /// A read begins: how it accesses the file, and what should come next. A window has
    /// so many bytes at first, and so many at most.
    pub(crate) fn read(
        &self,
        (first, most): (u64, u64),
        offset: u64,
        len: u64,
    ) -> (Access, Option<(u64, Range<u64>)>) {
        let mut state = self.state.lock();
        let range = state.next_range(offset, len, first, most);
        let access = if state.window > 0 {
            Access::Sequential
        } else {
            Access::Random
        };
        (access, range.map(|range| (state.turn, range)))
    }

    /// The handle is closed: nothing more comes.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.turn += 1;
        state.under_way.clear();
    }

    /// Holds on to what is on its way, unless the reader has jumped.
    pub(super) fn keep(&self, turn: u64, end: u64, prefetch: Prefetch) {
        let mut state = self.state.lock();
        if state.turn == turn {
            state.under_way.push_back((end, prefetch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_while_reads_follow_each_other() {
        let mut state = State::default();
        assert_eq!(state.next_range(0, 100, 1000, 4000), Some(100..1100));
        assert_eq!(
            state.next_range(100, 100, 1000, 4000),
            None,
            "enough is on its way"
        );
        assert_eq!(state.next_range(200, 500, 1000, 4000), Some(1100..2700));
        assert_eq!(state.window, 2000);
    }

    #[test]
    fn a_jump_closes_it() {
        let mut state = State::default();
        state.next_range(0, 100, 1000, 4000);
        assert_eq!(state.next_range(1 << 40, 100, 1000, 4000), None);
        assert_eq!((state.window, state.turn), (0, 1));
    }
}
