//! A request's context.

use std::{sync::Arc, time::Instant};

use carafe_types::SessionId;

/// Who asks, until when, and under which idempotency key.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The caller's user.
    pub uid: u32,
    /// The caller's group.
    pub gid: u32,
    /// The caller's supplementary groups, if they are known.
    pub groups: Arc<[u32]>,
    /// The caller is somebody else to its kernel.
    pub squashed: bool,
    /// The kernel has applied the rules of chmod(2) that depend on the caller's groups.
    pub checked: bool,
    /// The caller's process, as the kernel names it; 0 if unknown.
    pub pid: u32,
    /// The client's session; 0 for tools that have none (no locks, no opens).
    pub session: SessionId,
    /// After this the call answers `TimedOut`. `None` means the engine's default.
    pub deadline: Option<Instant>,
    /// Makes a mutation take effect once.
    pub key: Option<OpKey>,
}

/// Names one mutation of one client: the record of its result stands in the same
/// transaction as the change, one per slot, overwritten by the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpKey {
    /// The client's session.
    pub session: SessionId,
    /// The request slot.
    pub slot: u32,
    /// Grows with each use of the slot.
    pub sequence: u64,
}

impl OpKey {
    /// The key of one part of an operation that takes several transactions: the first
    /// has the operation's own, the others slots that no request has.
    pub(crate) fn part(self, part: usize) -> Self {
        Self {
            slot: self.slot ^ (part as u32) << 20,
            ..self
        }
    }
}

impl Call {
    /// A call of the product itself, as root and without a session.
    pub fn internal() -> Self {
        Self::default()
    }
}
