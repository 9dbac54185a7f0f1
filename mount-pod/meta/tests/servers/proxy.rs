//! Behind a proxy that gives each transaction to another connection.

use std::time::Duration;

use carafe_meta::Call;
use carafe_testkit::{PgBouncer, Postgres};
use carafe_types::Ino;

use crate::server::Client;

/// Two clients, each with more connections than the proxy has, so that each
/// connection of the proxy serves both; their statements must not be mixed up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_share_the_connections_of_pgbouncer() {
    let postgres = Postgres::shared();
    let proxy = PgBouncer::start(postgres, 3);
    let fresh = postgres.fresh();
    let database = fresh.rsplit('/').next().unwrap();
    let database = database.split('?').next().unwrap();
    let first = Client::new(&proxy.url(database)).await;
    let second = Client::new(&proxy.url(database)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for (number, client) in [&first, &second, &first, &second].into_iter().enumerate() {
        let client = client.clone();
        tasks.spawn(async move {
            for round in 0..50 {
                client.create(&format!("{number}-{round}")).await;
                let attr = client.meta.getattr(&Call::internal(), Ino::ROOT).await;
                assert!(attr.unwrap().is_dir());
            }
        });
    }
    let done = tokio::time::timeout(Duration::from_mins(1), tasks.join_all());
    done.await.unwrap();
    let stat = first.meta.statfs(&Call::internal(), Ino::ROOT).await;
    assert_eq!(stat.unwrap().used_inodes, 200);
}

/// A client that speaks to the server itself prepares what it says.
#[tokio::test]
async fn statements_are_prepared_without_a_proxy() {
    let postgres = Postgres::start_with(&["log_statement=all", "fsync=off"]);
    Client::new(&postgres.fresh()).await.create("f").await;
    let said = std::fs::read_to_string(postgres.socket().join("log")).unwrap();
    assert!(said.contains("execute s"), "named statements are executed");
    let proxy = PgBouncer::start(&postgres, 3);
    let fresh = postgres.fresh();
    let database = fresh.rsplit('/').next().unwrap();
    let database = database.split('?').next().unwrap();
    let before = said.matches("execute s").count();
    Client::new(&proxy.url(database)).await.create("f").await;
    let said = std::fs::read_to_string(postgres.socket().join("log")).unwrap();
    assert!(said.contains("execute <unnamed>"), "through the proxy");
    assert_eq!(said.matches("execute s").count(), before);
}
