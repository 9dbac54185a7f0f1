//! The worker: serves one mount over the descriptors that its parent gives it.
//!
//! The **stack** is all that a mount is made of: engine, store, caches, region,
//! file system. **Upkeep** is what it needs from time to time: heartbeats and
//! background work. The parent speaks the keeper's messages.

mod cache;
mod credentials;
mod orders;
mod stack;
mod upkeep;

use std::os::fd::AsFd;

use carafe_api::handover::{Attach, Bundle, FromKeeper, FromPod, Link};

use crate::failure::Failure;

/// Serves until the mount ends; says why if it cannot.
pub(crate) async fn run() -> Result<(), Failure> {
    let socket = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(Failure::system("take the parent's socket"))?;
    let keeper = Link::new(socket)?;
    let (attach, bundle) = attached(&keeper).await?;
    let served = orders::serve(&keeper, attach, bundle).await;
    if let Err(failure) = &served {
        let reason = failure.to_string();
        let lasting = matches!(failure, Failure::Usage(_));
        keeper
            .send(&FromPod::Failed { reason, lasting }, &[])
            .await?;
    }
    served
}

async fn attached(keeper: &Link) -> Result<(Attach, Bundle), Failure> {
    let (message, fds) = keeper.receive().await?;
    let FromKeeper::Attach(attach) = message else {
        return Err(Failure::Mount(
            "the parent began with another message than Attach".into(),
        ));
    };
    let bundle = Bundle::from_wire(attach.descriptors, fds)?;
    Ok((*attach, bundle))
}
