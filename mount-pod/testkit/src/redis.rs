//! Redis.

use std::process::Command;

use tempfile::TempDir;

use crate::{Server, free_port};

/// A Redis server with an append-only file.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    port: u16,
    dir: TempDir,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts one as Carafe wants it: append-only file, no eviction.
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "everysec"])
    }

    /// Starts one with options of the test's own.
    pub fn start_with(arguments: &[&str]) -> Self {
        let dir =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let port = free_port();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let server = Self::spawn(&dir, port, &arguments);
        Self {
            server,
            port,
            dir,
            arguments,
        }
    }

    fn spawn(dir: &TempDir, port: u16, arguments: &[String]) -> Server {
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir.path());
        command
            .args(["--unixsocket", "redis.sock", "--port", &port.to_string()])
            .args(arguments);
        Server::start("redis-server", &mut command, port)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: u32) -> String {
        format!("redis://{}/{database}", self.address())
    }

    /// The path of its Unix socket.
    pub fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// The process, for hanging it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Kills it and starts it again on the same port and data.
    pub fn restart(&mut self) {
        self.server.kill();
        self.server = Self::spawn(&self.dir, self.port, &self.arguments);
    }
}
