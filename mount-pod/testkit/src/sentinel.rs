//! Redis's sentinels.

use std::{fs, process::Command};

use tempfile::TempDir;

use crate::{Redis, Server, free_port};

/// A sentinel that watches a master and fails over by itself, as fast as it may.
#[derive(Debug)]
pub struct Sentinel {
    _server: Server,
    port: u16,
    _dir: TempDir,
}

impl Sentinel {
    /// Starts one that watches `master` under that name. `settings` are lines of its
    /// configuration.
    pub fn start(name: &str, master: &Redis, settings: &[&str]) -> Self {
        let dir =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let (port, file) = (free_port(), dir.path().join("sentinel.conf"));
        let address = master.address().replace(':', " ");
        let watch = [
            format!("port {port}\nbind 127.0.0.1\nsentinel monitor {name} {address} 1"),
            format!("sentinel down-after-milliseconds {name} 300"),
            format!("sentinel failover-timeout {name} 2000"),
        ];
        let text = format!("{}\n{}\n", watch.join("\n"), settings.join("\n"));
        fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").current_dir(dir.path());
        Self {
            _server: Server::start("a sentinel", &mut command, port),
            port,
            _dir: dir,
        }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
