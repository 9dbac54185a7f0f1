//! The one place in the I/O path where limits apply: every read and write passes
//! it with its size before it starts. For now it lets everything through.

use carafe_types::Result;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Admits I/O.
#[derive(Debug, Default)]
pub(crate) struct Gate;

impl Gate {
    /// Waits until `len` bytes may go.
    #[expect(
        clippy::unused_async,
        reason = "limits wait here; callers hold no lock"
    )]
    pub(crate) async fn admit(&self, _direction: Direction, _len: usize) -> Result<()> {
        Ok(())
    }
}
