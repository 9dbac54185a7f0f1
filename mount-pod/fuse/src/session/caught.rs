//! Panics are kept to the request that they happened in.
//!
//! Where a panic does not end the process, it must not end a reader thread either, nor
//! leave an application waiting for a reply for ever.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// Somebody panicked; the panic's message is on standard error already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panicked;

/// Drives a future to its end, or to its panic.
pub(super) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // What a panic left half done is dropped with the future and seen by nobody.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        assert_eq!(caught(async { 1 }).await, Ok(1));
        assert_eq!(
            caught(async { panic!("at once") }).await,
            Err::<(), _>(Panicked)
        );
        let late = async {
            tokio::task::yield_now().await;
            panic!("at the second poll")
        };
        assert_eq!(caught(late).await, Err::<(), _>(Panicked));
    }
}
