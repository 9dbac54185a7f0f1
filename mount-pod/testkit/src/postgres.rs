//! PostgreSQL.

use std::{
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    Certificate, Faulty, free_port,
    kept::{Kept, command_as, directory_of, give, run},
};

/// The user that runs it, and its administrator within.
const USER: &str = "postgres";

/// A PostgreSQL server on loopback and on a socket; everybody may log in.
#[derive(Debug)]
pub struct Postgres {
    server: Kept,
    port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
}

impl Postgres {
    /// One server for all tests of a process, that does not wait for the disk.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> =
            LazyLock::new(|| Postgres::start_with(&["fsync=off", "synchronous_commit=off"]));
        &SHARED
    }

    /// Starts one as Carafe wants it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with settings of the test's own, each `name=value`.
    pub fn start_with(settings: &[&str]) -> Self {
        let dir = directory_of(USER);
        let data = dir.join("data").display().to_string();
        let initdb = program("initdb");
        let make = [
            &initdb,
            "-D",
            &data,
            "-A",
            "trust",
            "-U",
            USER,
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ];
        let make = command_as(USER, &make);
        run(Command::new(&make[0]).args(&make[1..]).current_dir(&dir));
        let port = free_port();
        let arguments = arguments(&dir, port, settings);
        let server = spawn(&dir, port, &arguments);
        Self {
            server,
            port,
            dir,
            arguments,
        }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its socket.
    pub fn socket(&self) -> &Path {
        &self.dir
    }

    /// The URL of one of its databases as the administrator; options follow behind `&`.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    /// The URL of a new database.
    pub fn fresh(&self) -> String {
        let name = unused_name();
        self.sql(&format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a new schema.
    pub fn fresh_schema(&self) -> String {
        let name = unused_name();
        self.sql(&format!("CREATE SCHEMA {name}"));
        format!("{}&search_path={name}", self.url(USER))
    }

    /// Runs statements as the administrator; what they found.
    pub fn sql(&self, text: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-h"]).arg(&self.dir);
        psql.args(["-p", &self.port.to_string(), "-U", USER, "-XAtq"]);
        run(psql.args(["-v", "ON_ERROR_STOP=1", "-c", text]))
    }

    /// Speaks TLS from now on, with a certificate whose files it answers.
    pub fn speak_tls(&self) -> Certificate {
        let certificate = Certificate::make(&self.dir);
        give(USER, &certificate.key);
        self.sql(&format!(
            "ALTER SYSTEM SET ssl_cert_file = '{}'",
            certificate.certificate.display()
        ));
        self.sql(&format!(
            "ALTER SYSTEM SET ssl_key_file = '{}'",
            certificate.key.display()
        ));
        self.sql("ALTER SYSTEM SET ssl = on");
        self.sql("SELECT pg_reload_conf()");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.sql("SHOW ssl").trim() != "on" {
            assert!(std::time::Instant::now() < until, "no TLS after 10 s");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        certificate
    }

    /// Makes a role that must give its password on loopback, and a database of its own
    /// with the same name.
    pub fn make_client(&self, name: &str, password: &str) {
        let rules = format!(
            "local all all trust\nhost all {name} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        );
        std::fs::write(self.dir.join("data/pg_hba.conf"), rules)
            .unwrap_or_else(|error| panic!("pg_hba.conf: {error}"));
        self.sql(&format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"));
        self.sql(&format!("CREATE DATABASE {name} OWNER {name}"));
        self.sql("SELECT pg_reload_conf()");
    }
}

impl Faulty for Postgres {
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
        // It looks whether the process that it is told of is still there.
        let _ = std::fs::remove_file(self.dir.join("data/postmaster.pid"));
        self.server = spawn(&self.dir, self.port, &self.arguments);
    }
}

fn arguments(dir: &Path, port: u16, settings: &[&str]) -> Vec<String> {
    let data = dir.join("data").display().to_string();
    let (socket, port) = (dir.display().to_string(), port.to_string());
    let postgres = program("postgres");
    let mut command = vec![postgres.as_str(), "-D", &data, "-k", &socket, "-p", &port];
    for setting in [
        "listen_addresses=127.0.0.1",
        "max_connections=300",
        "shared_buffers=64MB",
    ]
    .iter()
    .chain(settings)
    {
        command.extend(["-c", setting]);
    }
    command_as(USER, &command)
}

fn spawn(dir: &Path, port: u16, arguments: &[String]) -> Kept {
    let is_up = || {
        let mut probe = Command::new("psql");
        probe.arg("-h").arg(dir).args(["-p", &port.to_string()]);
        let probe = probe.args(["-U", USER, "-Xqc", "SELECT 1"]).output();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            && probe.is_ok_and(|output| output.status.success())
    };
    Kept::start(arguments, dir, is_up)
}

/// A name that no other test of this process has.
pub(crate) fn unused_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Debian keeps each version's programs apart; the newest one counts.
fn program(name: &str) -> String {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let programs = versions
        .flatten()
        .map(|version| version.path().join("bin").join(name));
    let newest = programs.filter(|program| program.is_file()).max();
    newest.map_or_else(|| name.to_owned(), |program| program.display().to_string())
}
