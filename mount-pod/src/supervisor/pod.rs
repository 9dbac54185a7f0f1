//! In a pod, the keeper decides: its socket lies in a directory of the pod.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use carafe_api::handover::{
    Attached, Bundle, Client, FromKeeper, FromPod, HandoverError, Hello, Link,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinError, JoinHandle},
};

use super::{Held, Upstream};
use crate::failure::Failure;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two attempts to be handed a mount.
const PAUSE: Duration = Duration::from_millis(100);

/// The keeper's socket, connected or being connected again.
pub(crate) struct Pod {
    dir: PathBuf,
    name: String,
    connection: Connection,
    terminate: Signal,
}

enum Connection {
    Up(Link),
    Connecting(JoinHandle<Result<Client, HandoverError>>),
}

impl Pod {
    /// Connects, and waits for what the keeper hands over.
    pub(crate) async fn attach(dir: PathBuf, name: String) -> Result<(Self, Held), Failure> {
        // First of all: the first process of a container is deaf to signals otherwise.
        let mut terminate =
            signal(SignalKind::terminate()).map_err(Failure::system("watch SIGTERM"))?;
        let (client, attached) = tokio::select! {
            attached = first_attachment(&dir, &name) => attached?,
            _ = terminate.recv() => return Err(Failure::Mount("told to end before a mount was handed over".into())),
        };
        let connection = Connection::Up(Link::new(client.into_channel().into_fd())?);
        let held = Held {
            attach: attached.attach,
            bundle: attached.bundle,
            serving: false,
            explained: false,
        };
        Ok((
            Self {
                dir,
                name,
                connection,
                terminate,
            },
            held,
        ))
    }

    /// Waits for a new connection and says over it what this pod holds.
    async fn connect_again(&mut self, held: &Held) -> Result<(), Failure> {
        let Connection::Connecting(task) = &mut self.connection else {
            return Ok(());
        };
        let client = task.await.map_err(stopped)??;
        let hello = Hello {
            epoch: held.attach.epoch,
            serving: held.serving,
            attached: Some(Box::new(held.attach.clone())),
            ..hello(&self.name)
        };
        let holds = held
            .bundle
            .duplicate()
            .map_err(Failure::system("duplicate the descriptors"))?;
        self.connection = match introduce(client, hello, holds).await {
            Ok((client, _)) => Connection::Up(Link::new(client.into_channel().into_fd())?),
            Err(error) => {
                tracing::warn!(%error, "the keeper did not take this pod back; trying again");
                Connection::Connecting(connecting(self.dir.clone()))
            }
        };
        Ok(())
    }

    fn lost(&mut self, error: &HandoverError) {
        tracing::info!(%error, "the keeper is gone; serving on and connecting again");
        self.connection = Connection::Connecting(connecting(self.dir.clone()));
    }
}

impl Upstream for Pod {
    async fn next(&mut self, held: &Held) -> Result<FromKeeper, Failure> {
        loop {
            let Connection::Up(link) = &self.connection else {
                self.connect_again(held).await?;
                continue;
            };
            tokio::select! {
                said = link.receive::<FromKeeper>() => match said {
                    Ok((message, _)) => return Ok(message),
                    Err(error) => self.lost(&error),
                },
                // The kubelet ends pods when it likes; applications may still write.
                _ = self.terminate.recv() => tracing::info!("SIGTERM: serving until the keeper releases this mount"),
            }
        }
    }

    async fn tell(&mut self, message: &FromPod, region: Option<&OwnedFd>) -> Result<(), Failure> {
        // What cannot be said now is said in the next Hello.
        if let Connection::Up(link) = &self.connection
            && let Err(error) = link
                .send(
                    message,
                    &region.into_iter().map(AsFd::as_fd).collect::<Vec<_>>(),
                )
                .await
        {
            self.lost(&error);
        }
        Ok(())
    }
}

/// Asks until it is answered: as long as the mount's former client lives, the keeper
/// says nothing.
async fn first_attachment(dir: &Path, name: &str) -> Result<(Client, Attached), Failure> {
    loop {
        let client = connecting(dir.to_owned()).await.map_err(stopped)??;
        match introduce(client, hello(name), Bundle::default()).await {
            Err(error @ (HandoverError::TimedOut | HandoverError::Closed)) => {
                tracing::info!(%error, "the keeper hands nothing over yet; asking again");
                tokio::time::sleep(PAUSE).await;
            }
            attached => return Ok(attached?),
        }
    }
}

fn hello(name: &str) -> Hello {
    Hello {
        version: env!("CARGO_PKG_VERSION").into(),
        pod: name.into(),
        ..Hello::default()
    }
}

fn connecting(dir: PathBuf) -> JoinHandle<Result<Client, HandoverError>> {
    tokio::task::spawn_blocking(move || Client::connect_patiently(&dir, None))
}

async fn introduce(
    client: Client,
    hello: Hello,
    holds: Bundle,
) -> Result<(Client, Attached), HandoverError> {
    let talk = move || {
        client
            .hello(&hello, &holds, ANSWER_TIMEOUT)
            .map(|attached| (client, attached))
    };
    tokio::task::spawn_blocking(talk).await.map_err(stopped)?
}

fn stopped(error: JoinError) -> HandoverError {
    HandoverError::Os {
        step: "talk to the keeper",
        source: error.into(),
    }
}
