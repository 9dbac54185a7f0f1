//! PostgreSQL.

use carafe_meta::Call;
use carafe_testkit::Postgres;

use crate::server::{Client, Server};

pub(crate) fn server() -> Postgres {
    Postgres::start()
}

fn url_of(server: &Postgres, database: &str, login: &str) -> String {
    let port = server.port();
    format!("postgres://{login}@127.0.0.1:{port}/{database}?sslmode=disable")
}

impl Server for Postgres {
    fn fresh(&self) -> String {
        self.fresh()
    }

    fn make_client(&mut self, password: &str) {
        Postgres::make_client(self, "client", password);
    }

    fn set_password(&self, password: &str) {
        self.sql(&format!("ALTER ROLE client PASSWORD '{password}'"));
    }

    fn end_connections(&self) {
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'client'");
    }

    fn connections(&self) -> Option<usize> {
        let count = self.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'client'");
        count.trim().parse().ok()
    }

    fn client_url(&self, password: &str) -> String {
        url_of(self, "client", &format!("client:{password}"))
    }

    fn anonymous_urls(&self) -> Vec<String> {
        vec![url_of(self, "client", "client")]
    }

    fn elsewhere(&self, password: &str) -> (String, &'static str) {
        let login = format!("client:{password}");
        (url_of(self, "other", &login), "/other")
    }

    fn unusable(&self, password: &str) -> String {
        url_of(self, "", &format!("client:{password}"))
    }
}

#[tokio::test]
async fn a_socket_works() {
    let postgres = Postgres::shared();
    let database = postgres.fresh();
    let database = database.rsplit('/').next().unwrap();
    let database = database.split('?').next().unwrap();
    let (socket, port) = (postgres.socket().display(), postgres.port());
    let by_socket = format!("postgres://postgres@/{database}?host={socket}&port={port}");
    Client::new(&by_socket).await.create("f").await;
    Client::new(&postgres.url(database)).await.create("g").await;
}

#[tokio::test]
async fn preflight_warns_of_what_may_be_lost() {
    let client = Client::new(&Postgres::shared().fresh()).await;
    let warnings = client.meta.preflight(&Call::internal()).await.unwrap();
    let warnings = warnings.join("\n");
    for expected in ["fsync = on", "synchronous_commit = on"] {
        assert!(warnings.contains(expected), "{warnings}");
    }
    // Also there, what was answered is made durable as far as it can be.
    client.meta.sync(&Call::internal()).await.unwrap();
    let safe = Postgres::start();
    let client = Client::new(&safe.fresh()).await;
    let warnings = client.meta.preflight(&Call::internal()).await.unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    client.meta.sync(&Call::internal()).await.unwrap();
}
