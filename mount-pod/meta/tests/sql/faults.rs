//! A server that refuses, hangs or restarts.

use std::time::{Duration, Instant};

use carafe_meta::{Call, ConnectError, ConnectOptions, RenameFlags, connect};
use carafe_testkit::{MariaDb, Postgres, free_port};
use carafe_types::{Error, Ino, Secret};

use crate::server::{Client, Server, on_every_server, refusal};

on_every_server! {
    a_hung_server_is_waited_for_until_the_deadline;
    restarts_are_survived_exactly_once;
    a_wrong_password_is_told_and_never_shown;
}

async fn a_hung_server_is_waited_for_until_the_deadline(server: Server) {
    let client = Client::new(&server.fresh()).await;
    server.hang();
    let started = Instant::now();
    let call = Call {
        deadline: Some(started + Duration::from_millis(500)),
        ..client.call()
    };
    let answer = client.meta.getattr(&call, Ino::ROOT).await;
    assert!(matches!(answer, Err(Error::TimedOut(_))), "{answer:?}");
    let made = client
        .meta
        .create(&call, Ino::ROOT, b"f", &carafe_meta::NewNode::default())
        .await;
    assert!(matches!(made, Err(Error::TimedOut(_))), "{made:?}");
    assert!(started.elapsed() < Duration::from_secs(3));
    server.resume();
    // The same operation, asked again, whether or not it was done meanwhile.
    let again = Call {
        deadline: None,
        ..call
    };
    client
        .meta
        .create(&again, Ino::ROOT, b"f", &carafe_meta::NewNode::default())
        .await
        .unwrap();
}

/// Killed again and again under load: every operation is answered, and each took
/// effect once.
async fn restarts_are_survived_exactly_once(mut server: Server) {
    let client = Client::new(&server.fresh()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let client = client.clone();
        tasks.spawn(async move {
            for number in 0..60 {
                let (old, new) = (format!("{task}-{number}"), format!("{task}-{number}-new"));
                client.create(&old).await;
                let (old, new) = (old.as_bytes(), new.as_bytes());
                let flags = RenameFlags::NoReplace;
                client
                    .meta
                    .rename(&client.call(), Ino::ROOT, old, Ino::ROOT, new, flags)
                    .await
                    .unwrap();
                if number % 2 == 0 {
                    client
                        .meta
                        .unlink(&client.call(), Ino::ROOT, new)
                        .await
                        .unwrap();
                }
            }
        });
    }
    let mut restarts = 0;
    while restarts < 3 && !tasks.is_empty() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::task::block_in_place(|| server.restart());
        restarts += 1;
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let cursor = carafe_meta::Cursor(0);
    let page = client
        .meta
        .readdir(&Call::internal(), Ino::ROOT, cursor, 1000, true)
        .await
        .unwrap();
    assert_eq!(page.entries.len(), 120);
    let stat = client.meta.statfs(&Call::internal(), Ino::ROOT).await;
    assert_eq!(stat.unwrap().used_inodes, 120, "counted once each");
}

async fn a_wrong_password_is_told_and_never_shown(server: Server) {
    const SECRET: &str = "s3cr3t-of-the-test";
    server.make_client(SECRET);
    let wrong = server.client_url("s3cr3t-of-the-test-not");
    let without = server.client_url("").replace(":@", "@");
    for url in [&wrong, &without] {
        let error = refusal(url).await;
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains(SECRET), "{said}");
        assert!(
            said.contains("META_PASSWORD") && said.contains("metaurl"),
            "{said}"
        );
    }
    let secret = Secret::new(SECRET);
    let meta = connect(&wrong, Some(&secret), ConnectOptions::default())
        .await
        .unwrap();
    assert!(!meta.name().contains(SECRET));
    let loaded = meta.load(&Call::internal()).await;
    assert_eq!(loaded.err(), Some(Error::NotFound), "not formatted");
}

#[tokio::test]
async fn nobody_is_told_apart_from_a_missing_database() {
    let port = free_port();
    for url in [
        format!("postgres://me:s3cret@127.0.0.1:{port}/db"),
        format!("mysql://me:s3cret@(127.0.0.1:{port})/db"),
    ] {
        let said = refusal(&url).await.to_string();
        assert!(
            said.contains("cannot be reached") && said.contains("refused"),
            "{said}"
        );
        assert!(!said.contains("s3cret"), "{said}");
    }
    for url in [
        Postgres::shared().url("nothing"),
        MariaDb::shared().url("nothing"),
    ] {
        let said = refusal(&url).await.to_string();
        assert!(said.contains("nothing"), "{said}");
    }
}

#[tokio::test]
async fn sockets_work() {
    let postgres = Postgres::shared();
    let database = postgres.fresh();
    let database = database.rsplit('/').next().unwrap();
    let database = database.split('?').next().unwrap();
    let (socket, port) = (postgres.socket().display(), postgres.port());
    let by_socket = format!("postgres://postgres@/{database}?host={socket}&port={port}");
    Client::new(&by_socket).await.create("f").await;
    Client::new(&postgres.url(database)).await.create("g").await;
    let mariadb = MariaDb::shared();
    let (database, socket) = (mariadb.fresh(), mariadb.socket());
    let by_socket = format!("mysql://root@unix({})/{database}", socket.display());
    Client::new(&by_socket).await.create("f").await;
    Client::new(&mariadb.url(&database)).await.create("g").await;
}

#[tokio::test]
async fn preflight_warns_of_what_may_be_lost() {
    for (unsafe_one, expected) in [
        (
            Postgres::shared().fresh(),
            ["fsync = on", "synchronous_commit = on"],
        ),
        (
            MariaDb::shared().url(&MariaDb::shared().fresh()),
            ["innodb_flush_log_at_trx_commit", "set it to 1"],
        ),
    ] {
        let client = Client::new(&unsafe_one).await;
        let warnings = client.meta.preflight(&Call::internal()).await.unwrap();
        let warnings = warnings.join("\n");
        assert!(
            expected.iter().all(|part| warnings.contains(part)),
            "{warnings}"
        );
        // Also there, what was answered is made durable as far as it can be.
        client.meta.sync(&Call::internal()).await.unwrap();
    }
}

#[tokio::test]
async fn preflight_finds_nothing_where_all_is_safe() {
    let (postgres, mariadb) = (Postgres::start(), MariaDb::start());
    for url in [postgres.fresh(), mariadb.url(&mariadb.fresh())] {
        let client = Client::new(&url).await;
        let warnings = client.meta.preflight(&Call::internal()).await.unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        client.meta.sync(&Call::internal()).await.unwrap();
    }
}
