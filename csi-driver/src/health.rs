//! `/healthz`: whether the CSI socket answers, for kubelet's probes.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(3);

/// Answers until the process ends. Any path other than `/healthz` is not found.
pub(crate) async fn serve(address: SocketAddr, csi_socket: PathBuf) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        let csi_socket = csi_socket.clone();
        tokio::spawn(async move {
            // A prober that went away is no concern of ours.
            let _ = timeout(PATIENCE * 2, answer(connection, &csi_socket)).await;
        });
    }
}

async fn answer(mut connection: TcpStream, csi_socket: &PathBuf) -> io::Result<()> {
    let mut head = [0; 1024];
    let read = connection.read(&mut head).await?;
    let path = String::from_utf8_lossy(&head[..read])
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    let (status, body) = match path.split('?').next() {
        Some("/healthz") => match timeout(PATIENCE, UnixStream::connect(csi_socket)).await {
            Ok(Ok(_)) => ("200 OK", "ok\n".to_owned()),
            Ok(Err(error)) => (
                "503 Service Unavailable",
                format!("the CSI socket does not answer: {error}\n"),
            ),
            Err(_) => (
                "503 Service Unavailable",
                "the CSI socket does not answer in time\n".to_owned(),
            ),
        },
        _ => ("404 Not Found", "only /healthz is here\n".to_owned()),
    };
    let length = body.len();
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    connection.write_all(reply.as_bytes()).await?;
    connection.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn it_says_whether_the_socket_answers() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("csi.sock");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        tokio::spawn(serve(port, socket.clone()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(get(port, "/healthz").await.starts_with("HTTP/1.1 503"));
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        assert!(get(port, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(port, "/metrics").await.starts_with("HTTP/1.1 404"));
    }
}
