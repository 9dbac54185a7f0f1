//! What kubelet's probes are told.
//!
//! `/healthz` (liveness): the process does what it should, if only wait. `/readyz`
//! (readiness): calls can come. Both say in words what is wrong.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(3);

/// How far the plugin has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It does not listen yet: what it waits for.
    Starting(&'static str),
    /// It listens, and kubelet has not registered it.
    Unregistered,
    /// Kubelet refused it.
    Rejected(String),
    /// Calls can come.
    Ready,
}

/// How far the plugin has come, for all who know or ask. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    progress: Arc<Mutex<Progress>>,
    csi_socket: PathBuf,
}

/// An answer to a probe: whether all is well, and a line for people.
type Verdict = Result<String, String>;

impl Health {
    /// Of a plugin that starts and will listen on `csi_socket`.
    pub fn new(csi_socket: PathBuf) -> Self {
        Self {
            progress: Arc::new(Mutex::new(Progress::Starting("the plugin is starting"))),
            csi_socket,
        }
    }

    /// Notes how far the plugin has come.
    pub fn set(&self, progress: Progress) {
        *self.progress.lock() = progress;
    }

    fn progress(&self) -> Progress {
        self.progress.lock().clone()
    }

    /// Waiting for the API server is no reason to be killed; a socket that was
    /// listened on and does not answer is.
    async fn live(&self) -> Verdict {
        match self.progress() {
            Progress::Starting(waiting) => Ok(waiting.to_owned()),
            Progress::Unregistered | Progress::Rejected(_) | Progress::Ready => {
                self.socket_answers().await
            }
        }
    }

    async fn ready(&self) -> Verdict {
        match self.progress() {
            Progress::Starting(waiting) => Err(waiting.to_owned()),
            Progress::Unregistered => Err(
                "kubelet has not registered the driver yet: does --kubelet-dir name kubelet's directory?"
                    .to_owned(),
            ),
            Progress::Rejected(reason) => {
                Err(format!("kubelet did not register the driver: {reason}"))
            }
            Progress::Ready => self.socket_answers().await,
        }
    }

    async fn socket_answers(&self) -> Verdict {
        match timeout(PATIENCE, UnixStream::connect(&self.csi_socket)).await {
            Ok(Ok(_)) => Ok("ok".to_owned()),
            Ok(Err(error)) => Err(format!("the CSI socket does not answer: {error}")),
            Err(_) => Err("the CSI socket does not answer in time".to_owned()),
        }
    }
}

/// Listens for probes. Apart from [`serve`], so that an address that is taken stops
/// the plugin instead of leaving it without probes.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers probes until it is dropped.
pub async fn serve(listener: TcpListener, health: Health) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                let health = health.clone();
                tokio::spawn(async move {
                    // A prober that went away is no concern of ours.
                    let _ = timeout(PATIENCE * 2, answer(connection, &health)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a probe could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut connection: TcpStream, health: &Health) -> io::Result<()> {
    let mut head = [0; 1024];
    let read = connection.read(&mut head).await?;
    let head = String::from_utf8_lossy(&head[..read]);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let verdict = match path.split('?').next() {
        Some("/healthz") => Some(health.live().await),
        Some("/readyz") => Some(health.ready().await),
        _ => None,
    };
    let (status, body) = match verdict {
        Some(Ok(text)) => ("200 OK", text),
        Some(Err(reason)) => ("503 Service Unavailable", reason),
        None => ("404 Not Found", "only /healthz and /readyz are here".into()),
    };
    let length = body.len() + 1;
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}\n"
    );
    connection.write_all(reply.as_bytes()).await?;
    connection.shutdown().await
}

#[cfg(test)]
mod tests {
    use tonic::Request;

    use super::*;
    use crate::{
        proto::registration::{RegistrationStatus, registration_server::Registration},
        registration::RegistrationService,
    };

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection
            .write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut reply = String::new();
        connection.read_to_string(&mut reply).await.unwrap();
        reply
    }

    struct Probed {
        dir: tempfile::TempDir,
        health: Health,
        address: SocketAddr,
    }

    impl Probed {
        async fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let health = Health::new(dir.path().join("csi.sock"));
            let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, health.clone()));
            Self {
                dir,
                health,
                address,
            }
        }

        async fn says(&self, path: &str, status: u16, text: &str) {
            let reply = get(self.address, path).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(
                reply.starts_with(&expected) && reply.contains(text),
                "{reply}"
            );
        }

        fn listens(&self) -> tokio::net::UnixListener {
            tokio::net::UnixListener::bind(self.dir.path().join("csi.sock")).unwrap()
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_the_api_server_lives_and_is_not_ready() {
        let probed = Probed::start().await;
        probed.health.set(Progress::Starting("waiting for it"));
        probed.says("/healthz", 200, "waiting for it").await;
        probed.says("/readyz", 503, "waiting for it").await;
        probed.says("/metrics", 404, "/readyz").await;
    }

    #[tokio::test]
    async fn a_socket_that_does_not_answer_is_neither_live_nor_ready() {
        let probed = Probed::start().await;
        probed.health.set(Progress::Ready);
        probed.says("/healthz", 503, "CSI socket").await;
        probed.says("/readyz", 503, "CSI socket").await;
        let _listener = probed.listens();
        probed.says("/healthz", 200, "ok").await;
        probed.says("/readyz", 200, "ok").await;
    }

    #[tokio::test]
    async fn readiness_follows_what_kubelet_says() {
        let probed = Probed::start().await;
        let _listener = probed.listens();
        let registration = RegistrationService {
            driver_name: "csi.carafe.io".into(),
            endpoint: "/csi.sock".into(),
            health: probed.health.clone(),
        };
        let notify = |plugin_registered, error: &str| {
            registration.notify_registration_status(Request::new(RegistrationStatus {
                plugin_registered,
                error: error.into(),
            }))
        };
        probed.health.set(Progress::Unregistered);
        probed.says("/healthz", 200, "ok").await;
        probed.says("/readyz", 503, "has not registered").await;
        notify(false, "driver name is taken").await.unwrap();
        probed.says("/readyz", 503, "driver name is taken").await;
        notify(true, "").await.unwrap();
        probed.says("/readyz", 200, "ok").await;
        // A kubelet that restarted registers it again.
        notify(true, "").await.unwrap();
        probed.says("/readyz", 200, "ok").await;
    }
}
