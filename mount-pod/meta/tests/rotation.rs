//! The database's login changes under a client, in either order with the Secret.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use carafe_meta::{
    Call, ConnectError, ConnectOptions, Meta, NewNode, OpKey, RenewError, SessionInfo, connect,
};
use carafe_testkit::Redis;
use carafe_types::{Format, Ino, Secret, SessionId};

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

    async fn volume(&self) -> Client {
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
        let session = meta
            .new_session(&Call::internal(), &SessionInfo::default())
            .await
            .unwrap();
        Client {
            meta,
            session,
            sequence: Arc::default(),
        }
    }
}

/// A client whose mutations take effect once, also if an answer is lost.
#[derive(Clone)]
struct Client {
    meta: Arc<dyn Meta>,
    session: SessionId,
    sequence: Arc<AtomicU64>,
}

impl Client {
    async fn create(&self, name: &str) {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let key = OpKey {
            session: self.session,
            slot: sequence as u32,
            sequence,
        };
        let call = Call {
            session: self.session,
            key: Some(key),
            ..Call::internal()
        };
        self.meta
            .create(&call, Ino::ROOT, name.as_bytes(), &NewNode::default())
            .await
            .unwrap();
        self.meta
            .lookup(&Call::internal(), Ino::ROOT, name.as_bytes())
            .await
            .unwrap();
    }
}

/// Creates files one after another until told to stop; answers how many.
fn busy(client: &Client) -> (tokio::task::JoinHandle<usize>, Arc<AtomicBool>) {
    let (client, stop) = (client.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let work = tokio::spawn(async move {
        let mut done = 0;
        while !stopped.load(Ordering::Relaxed) {
            client.create(&format!("busy-{done}")).await;
            done += 1;
        }
        done
    });
    (work, stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_changes_first() {
    let server = Server::start();
    let client = server.volume().await;
    let (work, stop) = busy(&client);
    server.set_password("two");
    server.end_connections();
    tokio::time::sleep(A_WHILE).await;
    assert!(!work.is_finished(), "it waits for a login that works");
    client
        .meta
        .renew_login(&server.url("two"), None)
        .await
        .unwrap();
    client.create("after").await;
    stop.store(true, Ordering::Relaxed);
    assert!(work.await.unwrap() > 0);
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_changes_first() {
    let server = Server::start();
    let client = server.volume().await;
    let (work, stop) = busy(&client);
    let early = client.meta.renew_login(&server.url("two"), None).await;
    let Err(RenewError::Pending(ConnectError::Refused { reason, .. })) = &early else {
        panic!("{early:?}");
    };
    assert!(!reason.contains("two"), "{reason}");
    client.create("with the old connection").await;
    // The old login must do for a new connection too, as long as it works.
    server.end_connections();
    client.create("with the old login").await;
    server.set_password("two");
    client.create("still connected").await;
    server.end_connections();
    client.create("with the new login").await;
    stop.store(true, Ordering::Relaxed);
    assert!(work.await.unwrap() > 0);
    // The old password is forgotten: it is not tried when it works again.
    server.set_password("one");
    server.end_connections();
    let call = Call {
        deadline: Some(std::time::Instant::now() + A_WHILE),
        ..Call::internal()
    };
    let refused = client
        .meta
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
        tokio::spawn(async move {
            meta.create(
                &Call::internal(),
                Ino::ROOT,
                b"waiting",
                &NewNode::default(),
            )
            .await
        })
    };
    tokio::time::sleep(A_WHILE).await;
    assert!(!waiting.is_finished());
    meta.renew_login(&url, Some(&Secret::new("one")))
        .await
        .unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn another_place_is_refused() {
    let server = Server::start();
    let client = server.volume().await;
    for (url, named) in [
        (server.url("s3cret").replace("/1", "/2"), "/2"),
        (
            "redis://:s3cret@elsewhere/1".into(),
            "redis://elsewhere:6379/1",
        ),
        ("sqlite3:///tmp/s3cret?".into(), "sqlite3://"),
    ] {
        let error = client.meta.renew_login(&url, None).await.unwrap_err();
        assert!(matches!(error, RenewError::Elsewhere { .. }), "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(named) && !said.contains("s3cret"), "{said}");
    }
    let unusable = client
        .meta
        .renew_login("redis://:s3cret@host/x", None)
        .await;
    let said = format!("{unusable:?}");
    assert!(
        matches!(unusable, Err(RenewError::Unusable(_))) && !said.contains("s3cret"),
        "{said}"
    );
    client.create("as before").await;
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
