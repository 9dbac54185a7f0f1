//! PgBouncer.

use std::{
    net::{Ipv4Addr, TcpStream},
    path::Path,
};

use crate::{
    Postgres, free_port,
    kept::{Kept, command_as, directory_of},
};

/// A proxy that gives each transaction to whichever of a few connections is free.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    _server: Kept,
}

impl PgBouncer {
    /// Starts one before `postgres`, with so many connections to it.
    pub fn start(postgres: &Postgres, connections: u32) -> Self {
        let dir = directory_of("postgres");
        let port = free_port();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.join(name), text)
                .unwrap_or_else(|error| panic!("{name} of pgbouncer: {error}"));
        };
        write("users", "\"postgres\" \"\"\n");
        write("config", &config(&dir, port, postgres.port(), connections));
        let config = dir.join("config").display().to_string();
        let command = command_as("postgres", &["pgbouncer", &config]);
        let is_up = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        let server = Kept::start(&command, &dir, is_up);
        Self {
            port,
            _server: server,
        }
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }
}

fn config(dir: &Path, port: u16, behind: u16, connections: u32) -> String {
    format!(
        "[databases]\n* = host=127.0.0.1 port={behind}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
         default_pool_size = {connections}\nmax_client_conn = 200\n",
        dir.join("users").display()
    )
}
