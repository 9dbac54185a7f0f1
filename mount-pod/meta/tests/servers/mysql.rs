//! MySQL's protocol, which MariaDB speaks here.

use carafe_meta::Call;
use carafe_testkit::MariaDb;

use crate::server::{Client, Server};

pub(crate) fn server() -> MariaDb {
    MariaDb::start()
}

fn url_of(server: &MariaDb, database: &str, login: &str) -> String {
    format!("mysql://{login}@(127.0.0.1:{})/{database}", server.port())
}

impl Server for MariaDb {
    fn fresh(&self) -> String {
        self.url(&self.fresh())
    }

    fn make_client(&mut self, password: &str) {
        self.sql(&format!(
            "CREATE DATABASE client; CREATE USER client IDENTIFIED BY '{password}'; GRANT ALL ON client.* TO client"
        ));
    }

    fn set_password(&self, password: &str) {
        self.sql(&format!("ALTER USER client IDENTIFIED BY '{password}'"));
    }

    fn end_connections(&self) {
        self.sql("KILL USER client");
    }

    fn connections(&self) -> Option<usize> {
        let count =
            self.sql("SELECT count(*) FROM information_schema.processlist WHERE user = 'client'");
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
    let mariadb = MariaDb::shared();
    let (database, socket) = (mariadb.fresh(), mariadb.socket());
    let by_socket = format!("mysql://root@unix({})/{database}", socket.display());
    Client::new(&by_socket).await.create("f").await;
    Client::new(&mariadb.url(&database)).await.create("g").await;
}

#[tokio::test]
async fn preflight_warns_of_what_may_be_lost() {
    let shared = MariaDb::shared();
    let client = Client::new(&shared.url(&shared.fresh())).await;
    let warnings = client.meta.preflight(&Call::internal()).await.unwrap();
    let warnings = warnings.join("\n");
    for expected in ["innodb_flush_log_at_trx_commit", "set it to 1"] {
        assert!(warnings.contains(expected), "{warnings}");
    }
    // Also there, what was answered is made durable as far as it can be.
    client.meta.sync(&Call::internal()).await.unwrap();
    let safe = MariaDb::start();
    let client = Client::new(&safe.url(&safe.fresh())).await;
    let warnings = client.meta.preflight(&Call::internal()).await.unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    client.meta.sync(&Call::internal()).await.unwrap();
}
