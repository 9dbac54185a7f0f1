//! etcd.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use crate::{Faulty, Server, free_port};

/// An etcd of one member. It does not flush its files: what it answered survives its own
/// end, not the machine's.
#[derive(Debug)]
pub struct Etcd {
    server: Server,
    port: u16,
    peer_port: u16,
    dir: TempDir,
    tls: bool,
}

/// The one that the tests of a process share, and the ones that were taken of it.
static SHARED: OnceLock<u16> = OnceLock::new();
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Etcd {
    /// Starts one of the test's own.
    pub fn start() -> Self {
        Self::start_in(temporary(), false)
    }

    /// Starts one that wants TLS, and certificates of its clients.
    pub fn start_tls() -> Self {
        let dir = temporary();
        certify(dir.path());
        Self::start_in(dir, true)
    }

    fn start_in(dir: TempDir, tls: bool) -> Self {
        let (port, peer_port) = (free_port(), free_port());
        let server = Self::spawn(&dir, port, peer_port, tls);
        Self {
            server,
            port,
            peer_port,
            dir,
            tls,
        }
    }

    fn spawn(dir: &TempDir, port: u16, peer_port: u16, tls: bool) -> Server {
        let mut command = Command::new("etcd");
        command.args(arguments(dir.path(), port, peer_port, tls));
        Server::start("etcd", command.stderr(Stdio::null()), port)
    }

    /// A prefix of its own in the etcd that all tests of this process share. That one
    /// ends with the process.
    pub fn fresh_url() -> String {
        let port = SHARED.get_or_init(start_shared);
        let number = TAKEN.fetch_add(1, Ordering::Relaxed);
        format!("etcd://127.0.0.1:{port}/test/{number}")
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of a volume in it.
    pub fn url(&self, path: &str) -> String {
        format!("etcd://{}/{path}", self.address())
    }

    /// A file of [`Etcd::start_tls`]: `ca.crt`, `client.crt`, `client.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The process.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Calls etcd's HTTP API: `path` with a JSON message, and a token if one is given.
    pub fn call(&self, path: &str, message: &str, token: Option<&str>) -> String {
        let login = token.map_or_else(String::new, |token| format!("Authorization: {token}\r\n"));
        let request = format!(
            "POST /v3/{path} HTTP/1.0\r\nHost: etcd\r\n{login}Content-Length: {}\r\n\r\n{message}",
            message.len()
        );
        let said = exchange(self.port, &request).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        assert!(head.contains(" 200 "), "{path}: {said}");
        body.to_owned()
    }
}

impl Faulty for Etcd {
    fn hang(&self) {
        self.server.hang();
    }

    fn resume(&self) {
        self.server.resume();
    }

    fn stop(&mut self) {
        self.server.kill();
    }

    fn start_again(&mut self) {
        self.server = Self::spawn(&self.dir, self.port, self.peer_port, self.tls);
    }
}

fn exchange(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"))
}

fn arguments(dir: &Path, port: u16, peer_port: u16, tls: bool) -> Vec<String> {
    let scheme = if tls { "https" } else { "http" };
    let client = format!("{scheme}://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    let file = |name: &str| dir.join(name).display().to_string();
    let mut arguments = vec!["--unsafe-no-fsync".into()];
    let mut set = |name: &str, value: &str| {
        arguments.extend([format!("--{name}"), value.to_owned()]);
    };
    set("data-dir", &file("data"));
    set("listen-client-urls", &client);
    set("advertise-client-urls", &client);
    set("listen-peer-urls", &peer);
    set("initial-advertise-peer-urls", &peer);
    set("initial-cluster", &format!("default={peer}"));
    // It elects itself at once.
    set("heartbeat-interval", "20");
    set("election-timeout", "200");
    // Logging in costs next to nothing.
    set("bcrypt-cost", "4");
    set("logger", "zap");
    set("log-level", "error");
    if tls {
        set("cert-file", &file("server.crt"));
        set("key-file", &file("server.key"));
        set("trusted-ca-file", &file("ca.crt"));
        arguments.push("--client-cert-auth".into());
    }
    arguments
}

/// Starts the shared one under a shell that reads from this process: the pipe closes with
/// it, however it ends, and the shell clears up.
fn start_shared() -> u16 {
    const KEEPER: &str =
        r#"dir=$1; shift; "$@" 2>/dev/null & read -r _; kill -9 $!; wait; rm -rf "$dir""#;
    let dir = temporary().keep();
    let (port, peer_port) = (free_port(), free_port());
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "etcd"]).arg(&dir).arg("etcd");
    command.args(arguments(&dir, port, peer_port, false));
    // Kept open until the process ends.
    std::mem::forget(Server::start_kept("etcd", &mut command, port));
    port
}

/// A signer, and what it signed for the server and for clients.
fn certify(dir: &Path) {
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        let done = command.args(arguments).current_dir(dir).output();
        let done = done.unwrap_or_else(|error| panic!("openssl does not run: {error}"));
        assert!(done.status.success(), "openssl {arguments:?}: {done:?}");
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    let ca = [
        "req",
        "-x509",
        "-subj",
        "/CN=signer",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    ];
    openssl(&[&ca[..], &key].concat());
    for (name, of) in [("server", "IP:127.0.0.1"), ("client", "DNS:client")] {
        let [key_file, crt] = ["key", "crt"].map(|end| format!("{name}.{end}"));
        let extension = format!("subjectAltName={of}");
        let signed = [
            "req", "-x509", "-subj", "/CN=test", "-CA", "ca.crt", "-CAkey", "ca.key",
        ];
        let files = [
            "-addext",
            &extension,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        let out = ["-keyout", &key_file, "-out", &crt];
        openssl(&[&signed[..], &files, &out, &key].concat());
    }
}
