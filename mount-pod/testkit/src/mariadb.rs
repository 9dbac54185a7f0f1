//! MariaDB.

use std::{
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use crate::{
    Faulty, free_port,
    kept::{Kept, command_as, directory_of, run},
    postgres::unused_name,
    relay,
};

/// The user that runs it.
const USER: &str = "mysql";

/// A MariaDB server on loopback and on a socket. `root` has no password on the socket;
/// `test` has none anywhere, and may do all but manage users.
#[derive(Debug)]
pub struct MariaDb {
    server: Kept,
    port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
}

impl MariaDb {
    /// One server for all tests of a process, that does not wait for the disk.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<MariaDb> = LazyLock::new(|| {
            MariaDb::start_with(&[
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-doublewrite=0",
            ])
        });
        &SHARED
    }

    /// Starts one as Carafe wants it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with options of the test's own.
    pub fn start_with(options: &[&str]) -> Self {
        let dir = directory_of(USER);
        let data = format!("--datadir={}", dir.join("data").display());
        let make = [
            "mariadb-install-db",
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-flush-log-at-trx-commit=0",
            &data,
        ];
        let make = command_as(USER, &make);
        let mut install = Command::new(&make[0]);
        // A server that starts removes what others have in the same temporary directory.
        install.args(&make[1..]).env("TMPDIR", &dir);
        run(install.current_dir(&dir));
        let port = free_port();
        let mut command = vec![
            "mariadbd",
            "--no-defaults",
            "--bind-address=127.0.0.1",
            &data,
        ];
        let socket = format!("--socket={}", dir.join("socket").display());
        let at = format!("--port={port}");
        let temporary = format!("--tmpdir={}", dir.display());
        command.extend([
            &socket,
            &at,
            &temporary,
            "--max-connections=300",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=64M",
            "--character-set-server=utf8mb4",
        ]);
        command.extend(options);
        let arguments = command_as(USER, &command);
        let server = spawn(&dir, port, &arguments);
        let started = Self {
            server,
            port,
            dir,
            arguments,
        };
        started.sql("CREATE USER test; GRANT ALL ON *.* TO test");
        started
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://test@(127.0.0.1:{})/{database}", self.port)
    }

    /// The URL of one of its databases for the peer 1.3, which sets a variable that has
    /// another name before MariaDB 11.1.
    pub fn peer_url(&self, database: &str) -> String {
        let port = relay::start(
            self.port,
            b"transaction_isolation",
            b"tx_isolation         ",
        );
        format!("mysql://test@(127.0.0.1:{port})/{database}")
    }

    /// The name of a new database.
    pub fn fresh(&self) -> String {
        let name = unused_name();
        self.sql(&format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs statements as the administrator; what they found, without headings.
    pub fn sql(&self, text: &str) -> String {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-uroot", "-BN", "-S"]);
        run(client.arg(self.socket()).args(["-e", text]))
    }
}

impl Faulty for MariaDb {
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
        self.server = spawn(&self.dir, self.port, &self.arguments);
    }
}

fn spawn(dir: &Path, port: u16, arguments: &[String]) -> Kept {
    let is_up = || {
        let mut probe = Command::new("mariadb-admin");
        probe.args(["--no-defaults", "-uroot", "-S"]);
        let probe = probe.arg(dir.join("socket")).arg("ping").output();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            && probe.is_ok_and(|output| output.status.success())
    };
    Kept::start(arguments, dir, is_up)
}
