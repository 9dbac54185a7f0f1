//! Serving, and doing what the parent says meanwhile.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use carafe_api::handover::{Attach, Bundle, FromKeeper, FromPod, HandoverError, Link, Usage};
use carafe_fuse::Session;
use carafe_types::Error;
use futures_util::{FutureExt, future::BoxFuture};

use super::{stack::Stack, upkeep::Upkeep};
use crate::failure::Failure;

/// How long the end of a mount may take to write back what is dirty.
const DRAIN_PATIENCE: Duration = Duration::from_mins(5);

/// Serves the mount until the kernel or the parent ends it.
pub(super) async fn serve(
    keeper: &Link,
    attach: Attach,
    mut bundle: Bundle,
) -> Result<(), Failure> {
    let arguments = &attach.arguments;
    tracing::info!(
        file_system = arguments.file_system,
        directory = arguments.subdir,
        namespace = arguments.namespace,
        claim = arguments.claim,
        "connecting"
    );
    let stack = Stack::assemble(&attach, &mut bundle).await?;
    keeper
        .send(&FromPod::Region, &[stack.region.fd().as_fd()])
        .await?;
    // What a predecessor held, before the kernel asks for it.
    stack.vfs.adopt(stack.region.recover()).await?;
    let session = stack.start_session(&attach, bundle)?;
    let upkeep = Upkeep::start(&stack, &attach.arguments);
    let ended = until_the_end(keeper, &stack, &session).await;
    let drained = stack.vfs.drain(Instant::now() + DRAIN_PATIENCE).await;
    session.stop().await;
    upkeep.stop().await;
    stack.close().await;
    tracing::info!("the mount has ended");
    ended?;
    drained
        .map_err(|error| Failure::Mount(format!("not all that was written is committed: {error}")))
}

async fn until_the_end(keeper: &Link, stack: &Stack, session: &Session) -> Result<(), Failure> {
    let blob = session
        .negotiated()
        .await
        .map_err(|error| Failure::Mount(error.to_string()))?;
    keeper.send(&FromPod::InitDone { blob }, &[]).await?;
    keeper.send(&FromPod::Ready, &[]).await?;
    tracing::info!(session = stack.session.0, root = stack.root.0, "serving");
    // Beside the orders: what it waits for may be a new secret.
    let mut release = None::<BoxFuture<'_, Result<(), Error>>>;
    loop {
        tokio::select! {
            // The kernel has unmounted.
            ended = session.ended() => return ended.map_err(|error| Failure::Mount(error.to_string())),
            drained = finished(&mut release) => report(keeper, drained).await?,
            order = keeper.receive::<FromKeeper>() => match order {
                Ok((FromKeeper::End, _)) => return Ok(()),
                Ok((FromKeeper::Release, _)) => {
                    release.get_or_insert_with(|| stack.vfs.drain(Instant::now() + DRAIN_PATIENCE).boxed());
                }
                Ok((order, _)) => obey(keeper, stack, order).await?,
                // The parent died: nobody could replace this worker, but applications
                // are still served.
                Err(HandoverError::Closed) => {
                    tracing::error!("the supervisor is gone; serving until the kernel unmounts");
                    return session.ended().await.map_err(|error| Failure::Mount(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            },
        }
    }
}

/// Waits for what is under way; for ever if nothing is.
async fn finished<T>(work: &mut Option<BoxFuture<'_, T>>) -> T {
    let Some(under_way) = work else {
        return std::future::pending().await;
    };
    let done = under_way.await;
    *work = None;
    done
}

/// Says that all is committed. Silence means: not yet; whoever wants the release asks
/// again.
async fn report(keeper: &Link, drained: Result<(), Error>) -> Result<(), Failure> {
    match drained {
        Ok(()) => keeper.send(&FromPod::Released, &[]).await?,
        Err(error) => tracing::error!(%error, "not all that was written is committed yet"),
    }
    Ok(())
}

/// Does what the parent says.
async fn obey(keeper: &Link, stack: &Stack, order: FromKeeper) -> Result<(), Failure> {
    match order {
        FromKeeper::Secret { secret } => stack.credentials.rotate(*secret),
        FromKeeper::Ping { id } => {
            keeper
                .send(&FromPod::Pong { id, serving: true }, &[])
                .await?;
        }
        FromKeeper::Stats { id } => {
            // An engine that fails has no figures: nobody shall take zeros for them.
            if let Some(usage) = usage(stack).await {
                keeper.send(&FromPod::Stats { id, usage }, &[]).await?;
            }
        }
        // The end and the release are the caller's.
        FromKeeper::Attach(_)
        | FromKeeper::Refused { .. }
        | FromKeeper::Release
        | FromKeeper::End
        | FromKeeper::Unknown => {}
    }
    Ok(())
}

async fn usage(stack: &Stack) -> Option<Usage> {
    let asked = stack
        .meta
        .statfs(&carafe_meta::Call::internal(), stack.root)
        .await;
    let stat = asked
        .inspect_err(|error| tracing::warn!(%error, "the engine does not tell the usage"))
        .ok()?;
    Some(Usage {
        total_bytes: stat.total_bytes,
        free_bytes: stat.free_bytes,
        used_inodes: stat.used_inodes,
        free_inodes: stat.free_inodes,
    })
}
