//! Redis.

use std::sync::Arc;

use carafe_types::Secret;

use crate::{ConnectError, ConnectOptions, Meta};

/// Not yet.
#[expect(clippy::unused_async)]
pub(crate) async fn connect(
    _: &str,
    _: Option<&Secret>,
    _: ConnectOptions,
) -> Result<Arc<dyn Meta>, ConnectError> {
    Err(ConnectError::NotBuilt("redis".into()))
}
