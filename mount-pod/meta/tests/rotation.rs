//! The database's login changes under a client, in either order with the Secret.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{process::Command, sync::Arc, time::Duration};

use carafe_meta::{
    Call, ConnectError, ConnectOptions, Meta, NewNode, RenewError, SessionInfo, connect,
};
use carafe_testkit::Redis;
use carafe_types::{Format, Ino, Secret};

/// Longer than a refused client pauses between two attempts.
const A_WHILE: Duration = Duration::from_millis(300);

/// A server whose administrator is another user than the client.
struct Server {
    redis: Redis,
}

impl Server {
    fn start() -> Self {
        let server = Self {
            redis: Redis::start(),
        };
        server.set_password("one");
        server
    }

    fn admin(&self, words: &[&str]) -> String {
        let socket = self.redis.socket();
        let mut cli = Command::new("redis-cli");
        let said = cli.arg("-s").arg(socket).args(words).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(!said.contains("ERR"), "{words:?}: {said}");
        said
    }

    fn set_password(&self, password: &str) {
        self.admin(&[
            "ACL",
            "SETUSER",
            "client",
            "reset",
            "on",
            &format!(">{password}"),
            "~*",
            "&*",
            "+@all",
        ]);
    }

    fn end_connections(&self) {
        self.admin(&["CLIENT", "KILL", "USER", "client"]);
    }

    fn connections(&self) -> usize {
        self.admin(&["CLIENT", "LIST"])
            .matches("user=client")
            .count()
    }

    fn url(&self, password: &str) -> String {
        format!("redis://client:{password}@{}/1", self.redis.address())
    }

    async fn volume(&self) -> Arc<dyn Meta> {
        let meta = connect(&self.url("one"), None, ConnectOptions::default())
            .await
            .unwrap();
        let format = Format {
            name: "rotation".into(),
            uuid: "u".into(),
            trash_days: 0,
            ..Format::default()
        };
        meta.format(&Call::internal(), &format, false)
            .await
            .unwrap();
        meta.new_session(&Call::internal(), &SessionInfo::default())
            .await
            .unwrap();
        meta
    }
}

async fn create(meta: &dyn Meta, name: &str) {
    meta.create(
        &Call::internal(),
        Ino::ROOT,
        name.as_bytes(),
        &NewNode::default(),
    )
    .await
    .unwrap();
    meta.lookup(&Call::internal(), Ino::ROOT, name.as_bytes())
        .await
        .unwrap();
}

/// Creates files one after another until told to stop; answers how many.
fn busy(
    meta: &Arc<dyn Meta>,
) -> (
    tokio::task::JoinHandle<usize>,
    Arc<std::sync::atomic::AtomicBool>,
) {
    let (meta, stop) = (
        meta.clone(),
        Arc::new(std::sync::atomic::AtomicBool::new(false)),
    );
    let stopped = stop.clone();
    let work = tokio::spawn(async move {
        let mut done = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            create(meta.as_ref(), &format!("busy-{done}")).await;
            done += 1;
        }
        done
    });
    (work, stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_changes_first() {
    let server = Server::start();
    let meta = server.volume().await;
    let (work, stop) = busy(&meta);
    server.set_password("two");
    server.end_connections();
    tokio::time::sleep(A_WHILE).await;
    assert!(!work.is_finished(), "it waits for a login that works");
    meta.renew_login(&server.url("two"), None).await.unwrap();
    create(meta.as_ref(), "after").await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(work.await.unwrap() > 0);
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_changes_first() {
    let server = Server::start();
    let meta = server.volume().await;
    let (work, stop) = busy(&meta);
    let early = meta.renew_login(&server.url("two"), None).await;
    let Err(RenewError::Pending(ConnectError::Refused { reason, .. })) = &early else {
        panic!("{early:?}");
    };
    assert!(!reason.contains("two"), "{reason}");
    create(meta.as_ref(), "with the old connection").await;
    // The old login must do for a new connection too, as long as it works.
    server.end_connections();
    create(meta.as_ref(), "with the old login").await;
    server.set_password("two");
    create(meta.as_ref(), "still connected").await;
    server.end_connections();
    create(meta.as_ref(), "with the new login").await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(work.await.unwrap() > 0);
    // The old password is forgotten: it is not tried when it works again.
    server.set_password("one");
    server.end_connections();
    let call = Call {
        deadline: Some(std::time::Instant::now() + A_WHILE),
        ..Call::internal()
    };
    let refused = meta
        .getattr(&call, Ino::ROOT)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("password is wrong"), "{refused}");
}

/// `requirepass`, with the password apart from the URL, on a server that had none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_password_is_taken_over() {
    let server = Server::start();
    let url = server.redis.url(0);
    let meta = connect(&url, None, ConnectOptions::default())
        .await
        .unwrap();
    meta.format(
        &Call::internal(),
        &Format {
            name: "first".into(),
            uuid: "u".into(),
            trash_days: 0,
            ..Format::default()
        },
        false,
    )
    .await
    .unwrap();
    server.admin(&["CONFIG", "SET", "requirepass", "one"]);
    let port = server.redis.address();
    let port = port.rsplit(':').next().unwrap();
    let killed = Command::new("redis-cli")
        .env("REDISCLI_AUTH", "one")
        .args(["-p", port, "CLIENT", "KILL", "TYPE", "normal"])
        .output()
        .unwrap();
    assert!(killed.status.success());
    let waiting = {
        let meta = meta.clone();
        tokio::spawn(async move { create(meta.as_ref(), "waiting").await })
    };
    tokio::time::sleep(A_WHILE).await;
    assert!(!waiting.is_finished());
    meta.renew_login(&url, Some(&Secret::new("one")))
        .await
        .unwrap();
    waiting.await.unwrap();
}

#[tokio::test]
async fn another_place_is_refused() {
    let server = Server::start();
    let meta = server.volume().await;
    for (url, named) in [
        (server.url("s3cret").replace("/1", "/2"), "/2"),
        (
            "redis://:s3cret@elsewhere/1".into(),
            "redis://elsewhere:6379/1",
        ),
        ("sqlite3:///tmp/s3cret?".into(), "sqlite3://"),
    ] {
        let error = meta.renew_login(&url, None).await.unwrap_err();
        assert!(matches!(error, RenewError::Elsewhere { .. }), "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(named) && !said.contains("s3cret"), "{said}");
    }
    let unusable = meta.renew_login("redis://:s3cret@host/x", None).await;
    let said = format!("{unusable:?}");
    assert!(
        matches!(unusable, Err(RenewError::Unusable(_))) && !said.contains("s3cret"),
        "{said}"
    );
    create(meta.as_ref(), "as before").await;
}

#[tokio::test]
async fn a_file_has_no_login() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite3://{}/meta.db", dir.path().display());
    let meta = connect(&url, None, ConnectOptions::default())
        .await
        .unwrap();
    meta.renew_login(&url, Some(&Secret::new("any")))
        .await
        .unwrap();
    let moved = meta.renew_login("sqlite3:///else.db", None).await;
    assert!(
        matches!(moved, Err(RenewError::Elsewhere { .. })),
        "{moved:?}"
    );
}
