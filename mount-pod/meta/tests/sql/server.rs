//! The servers under test, in one shape.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carafe_meta::{Call, ConnectError, ConnectOptions, Meta, NewNode, OpKey, SessionInfo, connect};
use carafe_testkit::{MariaDb, Postgres};
use carafe_types::{Format, Ino, SessionId};

/// A server of one family.
pub(crate) enum Server {
    Postgres(Postgres),
    MariaDb(MariaDb),
}

pub(crate) fn postgres() -> Server {
    Server::Postgres(Postgres::start())
}

pub(crate) fn mysql() -> Server {
    Server::MariaDb(MariaDb::start())
}

impl Server {
    /// The URL of a new database.
    pub(crate) fn fresh(&self) -> String {
        match self {
            Self::Postgres(server) => server.fresh(),
            Self::MariaDb(server) => server.url(&server.fresh()),
        }
    }

    pub(crate) fn hang(&self) {
        match self {
            Self::Postgres(server) => server.hang(),
            Self::MariaDb(server) => server.hang(),
        }
    }

    pub(crate) fn resume(&self) {
        match self {
            Self::Postgres(server) => server.resume(),
            Self::MariaDb(server) => server.resume(),
        }
    }

    pub(crate) fn restart(&mut self) {
        match self {
            Self::Postgres(server) => server.restart(),
            Self::MariaDb(server) => server.restart(),
        }
    }

    /// Makes the user `client` with a password and a database of the same name.
    pub(crate) fn make_client(&self, password: &str) {
        match self {
            Self::Postgres(server) => server.make_client("client", password),
            Self::MariaDb(server) => {
                server.sql(&format!(
                    "CREATE DATABASE client; CREATE USER client IDENTIFIED BY '{password}'; GRANT ALL ON client.* TO client"
                ));
            }
        }
    }

    pub(crate) fn set_password(&self, password: &str) {
        match self {
            Self::Postgres(server) => {
                server.sql(&format!("ALTER ROLE client PASSWORD '{password}'"));
            }
            Self::MariaDb(server) => {
                server.sql(&format!("ALTER USER client IDENTIFIED BY '{password}'"));
            }
        }
    }

    pub(crate) fn end_connections(&self) {
        match self {
            Self::Postgres(server) => {
                server.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'client'",
                );
            }
            Self::MariaDb(server) => {
                server.sql("KILL USER client");
            }
        }
    }

    pub(crate) fn connections(&self) -> usize {
        let count = match self {
            Self::Postgres(server) => {
                server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'client'")
            }
            Self::MariaDb(server) => server
                .sql("SELECT count(*) FROM information_schema.processlist WHERE user = 'client'"),
        };
        count.trim().parse().unwrap()
    }

    /// The URL of that user and its database.
    pub(crate) fn client_url(&self, password: &str) -> String {
        self.client_url_of("client", password)
    }

    /// The URL of that user and another database.
    pub(crate) fn client_url_of(&self, database: &str, password: &str) -> String {
        match self {
            Self::Postgres(server) => {
                let port = server.port();
                format!("postgres://client:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
            }
            Self::MariaDb(server) => {
                let port = server.port();
                format!("mysql://client:{password}@(127.0.0.1:{port})/{database}")
            }
        }
    }
}

/// A client whose mutations take effect once, also if an answer is lost.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) meta: Arc<dyn Meta>,
    pub(crate) session: SessionId,
    sequence: Arc<AtomicU64>,
}

impl Client {
    /// Of a volume that it formats.
    pub(crate) async fn new(url: &str) -> Self {
        let meta = connect(url, None, ConnectOptions::default()).await.unwrap();
        let format = Format {
            name: "sql".into(),
            uuid: "u".into(),
            trash_days: 0,
            ..Format::default()
        };
        meta.format(&Call::internal(), &format, false)
            .await
            .unwrap();
        let session = meta
            .new_session(&Call::internal(), &SessionInfo::default())
            .await
            .unwrap();
        Self {
            meta,
            session,
            sequence: Arc::default(),
        }
    }

    /// A call with a key of its own.
    pub(crate) fn call(&self) -> Call {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let key = OpKey {
            session: self.session,
            slot: sequence as u32,
            sequence,
        };
        Call {
            session: self.session,
            key: Some(key),
            ..Call::internal()
        }
    }

    pub(crate) async fn create(&self, name: &str) {
        let name = name.as_bytes();
        self.meta
            .create(&self.call(), Ino::ROOT, name, &NewNode::default())
            .await
            .unwrap();
        self.meta
            .lookup(&Call::internal(), Ino::ROOT, name)
            .await
            .unwrap();
    }
}

/// Why a URL cannot be opened.
pub(crate) async fn refusal(url: &str) -> ConnectError {
    let options = ConnectOptions {
        timeout: Duration::from_secs(5),
        ..ConnectOptions::default()
    };
    connect(url, None, options).await.err().unwrap()
}

/// Makes a test of each family from a function of a server.
macro_rules! on_every_server {
    ($($name:ident;)*) => {$(
        mod $name {
            use crate::server;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(server::postgres()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mysql() {
                super::$name(server::mysql()).await;
            }
        }
    )*};
}
pub(crate) use on_every_server;
