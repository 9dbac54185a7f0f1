//! Requests to the API server, none of which waits for ever.

use std::time::Duration;

/// How long the API server may take for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a request that was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The server refused it, or cannot be reached.
    #[error(transparent)]
    Answered(#[from] kube::Error),
    /// It said nothing in time.
    #[error("the API server did not answer within {} s", PATIENCE.as_secs())]
    TimedOut,
}

/// Waits for a request's answer as long as one may.
pub(crate) async fn within<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(RequestError::TimedOut),
    }
}
