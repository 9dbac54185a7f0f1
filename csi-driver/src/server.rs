//! gRPC on Unix sockets.

use std::{io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use futures_util::FutureExt;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::Router;

/// Listens on `path`, in place of a socket that an earlier life left.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Which socket lies at `path` now; none if there is none.
pub fn inode(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path)
        .map(|found| found.ino())
        .ok()
}

/// Removes the socket at `path`, unless another life of the plugin has put its own
/// there meanwhile: the two overlap when a pod is replaced by force.
pub fn remove_own(path: &Path, own: Option<u64>) {
    if own.is_some()
        && inode(path) == own
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::warn!(%error, path = %path.display(), "a socket is left");
    }
}

/// How long calls under way may take when the plugin is told to stop. What is cut is
/// repeated by kubelet or the sidecar, and found half done by the plugin's next life.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `stop` is done; calls under way are finished if they are quick.
pub async fn serve(
    router: Router,
    listener: UnixListener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    drained_within(DRAIN, router, listener, stop).await
}

async fn drained_within(
    patience: Duration,
    router: Router,
    listener: UnixListener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let stop = stop.shared();
    let too_late = stop.clone().then(|()| tokio::time::sleep(patience));
    let serving =
        router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone());
    tokio::select! {
        served = serving => served,
        () = too_late => {
            tracing::warn!("calls were under way when the plugin stopped: they will be repeated");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;
    use tokio_util::sync::CancellationToken;
    use tonic::transport::Server;

    use super::*;
    use crate::{identity::IdentityService, proto::csi::identity_server::IdentityServer};

    #[tokio::test]
    async fn the_next_lifes_socket_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("reg.sock");
        let _old = listen(&socket).unwrap();
        let old = inode(&socket);
        let _next = listen(&socket).unwrap();
        remove_own(&socket, old);
        assert!(socket.exists(), "it is the next life's");
        remove_own(&socket, inode(&socket));
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn a_client_that_hangs_does_not_keep_the_plugin_from_ending() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, stop) = (dir.path().join("csi.sock"), CancellationToken::new());
        let router = Server::builder().add_service(IdentityServer::new(IdentityService {
            driver_name: "csi.carafe.io".into(),
        }));
        let listener = listen(&socket).unwrap();
        let patience = Duration::from_millis(50);
        let serving = drained_within(patience, router, listener, stop.clone().cancelled_owned());
        let serving = tokio::spawn(serving);
        let _hangs = UnixStream::connect(&socket).await.unwrap();
        tokio::time::sleep(patience * 3).await;
        assert!(!serving.is_finished(), "nobody has told it to stop");
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
