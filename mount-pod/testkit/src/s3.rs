//! An S3 server.

use std::{path::Path, process::Command};

use tempfile::TempDir;

use crate::{Server, free_port, tool};

/// versitygw over a temporary directory.
#[derive(Debug)]
pub struct S3 {
    server: Server,
    port: u16,
    dir: TempDir,
}

impl S3 {
    /// The account.
    pub const ACCESS_KEY: &str = "carafe-test";
    /// Its secret.
    pub const SECRET_KEY: &str = "carafe-test-secret";

    /// Starts one with the bucket `bucket`.
    pub fn start(bucket: &str) -> Self {
        let dir =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        // Metadata beside the data: a temporary directory may lack extended attributes.
        for part in [Path::new("meta"), &Path::new("data").join(bucket)] {
            std::fs::create_dir_all(dir.path().join(part))
                .unwrap_or_else(|error| panic!("no bucket: {error}"));
        }
        let port = free_port();
        let mut command = Command::new(tool("versitygw"));
        command.args([
            "--access",
            Self::ACCESS_KEY,
            "--secret",
            Self::SECRET_KEY,
            "--port",
        ]);
        command.arg(format!("127.0.0.1:{port}")).arg("posix");
        command
            .arg("--sidecar")
            .arg(dir.path().join("meta"))
            .arg(dir.path().join("data"));
        let server = Server::start("versitygw", &mut command, port);
        Self { server, port, dir }
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its buckets lie.
    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// The process, for hanging it.
    pub fn server(&self) -> &Server {
        &self.server
    }
}
