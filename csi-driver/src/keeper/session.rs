//! One mount pod's connection: hello, attach, and what comes after.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Weak},
    time::Duration,
};

use carafe_api::handover::{
    Attach, Bundle, FromKeeper, FromPod, HandoverError, Hello, Listener, Peer, Process,
};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{Kept, Phase, state::Greeting};
use crate::mount::is_fuse_device;

const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// How long kubelet may take to kill what was deleted by force.
const LINGER: Duration = Duration::from_secs(5);

/// Between two attempts at a socket that fails.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Answers connections one at a time; a new one ends the old one, whose client is
/// dead or about to be.
pub(super) async fn serve(kept: Weak<Kept>, listener: Listener) {
    let mut session = None::<AbortOnDropHandle<()>>;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let peer = match listener.accept().await {
            Ok(peer) => peer,
            Err(error) => {
                tracing::error!(%error, "the keeper's socket failed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = SHORTEST_PAUSE;
        let Some(kept) = kept.upgrade() else { return };
        if let Some(old) = session.take() {
            old.abort();
            let _ = old.await;
            kept.disconnected();
        }
        session = Some(AbortOnDropHandle::new(tokio::spawn(run(kept, peer))));
    }
}

async fn run(kept: Arc<Kept>, peer: Peer) {
    let volume = kept.volume().to_owned();
    let ended = converse(&kept, &peer).await;
    kept.disconnected();
    match ended {
        Err(HandoverError::Closed) => tracing::info!(volume, "the mount pod closed its connection"),
        Err(error) => tracing::warn!(volume, %error, "the mount pod's connection ended"),
        Ok(()) => {}
    }
}

async fn converse(kept: &Kept, peer: &Peer) -> Result<(), HandoverError> {
    let first = timeout(HELLO_PATIENCE, peer.receive()).await;
    let (message, fds) = first.map_err(|_| HandoverError::TimedOut)??;
    let FromPod::Hello(hello) = message else {
        return Err(HandoverError::Unexpected(
            "something else than hello came first".into(),
        ));
    };
    if !greet(kept, peer, *hello, fds).await? {
        return Ok(());
    }
    loop {
        tokio::select! {
            message = kept.outgoing() => peer.send(&message, &[]).await?,
            received = peer.receive() => {
                let (message, fds) = received?;
                take(kept, message, fds)?;
            }
        }
    }
}

/// Answers a hello; `false` if the pod was sent away.
async fn greet(
    kept: &Kept,
    peer: &Peer,
    hello: Hello,
    fds: Vec<OwnedFd>,
) -> Result<bool, HandoverError> {
    let given = Bundle::from_wire(hello.holds, fds)?;
    if given
        .device
        .iter()
        .chain(&given.clones)
        .any(|fd| !is_fuse_device(fd))
    {
        return Err(HandoverError::Unexpected(
            "a descriptor that is not the FUSE device".into(),
        ));
    }
    tracing::info!(
        volume = kept.volume(),
        pod = hello.pod,
        version = hello.version,
        gives = given.device.is_some(),
        "a mount pod connected"
    );
    match admitted(kept, peer, &hello, given).await {
        Ok((attach, bundle)) => {
            peer.send(&FromKeeper::Attach(attach), &bundle.borrowed())
                .await?;
            Ok(true)
        }
        Err(HandoverError::Refused(reason)) => {
            peer.send(&FromKeeper::Refused { reason }, &[]).await?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// What the client gets, after the process that served before it has ended; refused, it
/// gets nothing.
async fn admitted(
    kept: &Kept,
    peer: &Peer,
    hello: &Hello,
    mut given: Bundle,
) -> Result<(Box<Attach>, Bundle), HandoverError> {
    loop {
        let greeting = kept.greet(hello, std::mem::take(&mut given), peer.process());
        let greeting = greeting.map_err(|source| HandoverError::Os {
            step: "duplicate the descriptors",
            source,
        })?;
        let predecessor = match greeting {
            Greeting::Welcome(attach, bundle) => return Ok((attach, bundle)),
            Greeting::Refused(reason) => return Err(HandoverError::Refused(reason.to_owned())),
            Greeting::After(predecessor) => predecessor,
        };
        tokio::select! {
            ended = ended(&predecessor) => ended?,
            // It has nothing to say before it is answered: it is gone.
            said = peer.receive() => {
                said?;
                return Err(HandoverError::Unexpected("a message before the attachment".into()));
            }
        }
    }
}

/// Waits for the end of a client whose pod has gone from the API server, or another
/// would not be there. Kubelet kills it, unless the pod was deleted with a grace period
/// first: then nobody would.
async fn ended(client: &Process) -> Result<(), HandoverError> {
    if let Ok(ended) = timeout(LINGER, client.ended()).await {
        return ended;
    }
    tracing::warn!("a client whose pod is gone serves on: killing it, its successor takes over");
    client.kill()?;
    client.ended().await
}

fn take(kept: &Kept, message: FromPod, mut fds: Vec<OwnedFd>) -> Result<(), HandoverError> {
    match message {
        FromPod::Region => match (fds.pop(), fds.is_empty()) {
            (Some(region), true) => kept.set_region(region),
            (_, _) => {
                return Err(HandoverError::Descriptors {
                    said: 1,
                    came: fds.len(),
                });
            }
        },
        FromPod::InitDone { blob } => kept.set_init(blob),
        FromPod::Ready => kept.set_phase(Phase::Ready),
        FromPod::Failed { reason, lasting } => {
            tracing::warn!(
                volume = kept.volume(),
                reason,
                lasting,
                "the mount pod cannot serve"
            );
            kept.set_phase(Phase::Failed { reason });
        }
        FromPod::Released => kept.released(),
        FromPod::Stats { usage, .. } => kept.answered(usage),
        FromPod::Pong { .. } | FromPod::Unknown => {}
        FromPod::Hello(_) => return Err(HandoverError::Unexpected("a second hello".into())),
    }
    Ok(())
}
