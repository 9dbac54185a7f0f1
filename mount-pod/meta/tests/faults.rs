//! A server that refuses, hangs, forgets or restarts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use carafe_meta::{Call, ConnectError, ConnectOptions, Meta, NewNode, OpKey, SessionInfo, connect};
use carafe_testkit::{Redis, free_port};
use carafe_types::{Error, Format, Ino, Secret, SessionId};

const SECRET: &str = "s3cr3t-of-the-test";

fn options() -> ConnectOptions {
    ConnectOptions {
        timeout: Duration::from_secs(3),
        ..ConnectOptions::default()
    }
}

fn format() -> Format {
    Format {
        name: "faults".into(),
        uuid: "u".into(),
        trash_days: 0,
        ..Format::default()
    }
}

async fn volume(redis: &Redis) -> (std::sync::Arc<dyn Meta>, SessionId) {
    let meta = connect(&redis.url(0), None, options()).await.unwrap();
    meta.format(&Call::internal(), &format(), false)
        .await
        .unwrap();
    let session = meta
        .new_session(&Call::internal(), &SessionInfo::default())
        .await
        .unwrap();
    (meta, session)
}

async fn refusal(url: &str) -> ConnectError {
    connect(url, None, options()).await.err().unwrap()
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let list = "sqlite3://, redis://, rediss://, unix://, postgres://, postgresql://, mysql://";
    for (url, expected) in [
        (
            "zk://me:s3cr3t-of-the-test@host/db",
            "zk:// is not in this build",
        ),
        ("tikv://host/p", list),
        ("ftp://me:s3cr3t-of-the-test@host", list),
        ("me:s3cr3t-of-the-test@host", list),
        ("sqlite3://", "wants a file"),
        (
            "sqlite3:///no/such/directory/meta.db",
            "/no/such/directory/meta.db cannot be reached",
        ),
        (
            "redis://:s3cr3t-of-the-test@host/database",
            "not a database's number",
        ),
        ("postgres://me:s3cr3t-of-the-test@host", "names no database"),
        ("mysql://me:s3cr3t-of-the-test@(host:3306)", "of the form"),
    ] {
        let error = refusal(url).await;
        let text = format!("{error} {error:?}");
        assert!(
            text.contains(expected) && !text.contains(SECRET),
            "{url}: {text}"
        );
    }
    let nobody = refusal(&format!("redis://:{SECRET}@127.0.0.1:{}/0", free_port()))
        .await
        .to_string();
    assert!(
        nobody.contains("cannot be reached")
            && nobody.contains("refused")
            && !nobody.contains(SECRET),
        "{nobody}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_and_never_shown() {
    let redis = Redis::start_with(&["--appendonly", "yes", "--requirepass", SECRET]);
    let url = format!("redis://:{SECRET}-not@{}/0", redis.address());
    let error = refusal(&url).await;
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    assert!(error.to_string().contains("META_PASSWORD"), "{error}");
    for database in [0, 1] {
        let none = refusal(&redis.url(database)).await;
        assert!(matches!(none, ConnectError::Refused { .. }), "{none}");
        let said = none.to_string();
        assert!(
            said.contains("META_PASSWORD") && said.contains("metaurl"),
            "{said}"
        );
    }
    let meta = connect(&url, Some(&Secret::new(SECRET)), options())
        .await
        .unwrap();
    assert!(!meta.name().contains(SECRET));
    assert_eq!(
        meta.load(&Call::internal()).await,
        Err(Error::NotFound),
        "not formatted"
    );
}

#[tokio::test]
async fn a_unix_socket_works() {
    let redis = Redis::start();
    let url = format!("unix://{}?db=3", redis.socket().display());
    let meta = connect(&url, None, options()).await.unwrap();
    meta.format(&Call::internal(), &format(), false)
        .await
        .unwrap();
    let other = connect(&redis.url(3), None, options()).await.unwrap();
    assert_eq!(other.load(&Call::internal()).await.unwrap().name, "faults");
}

#[tokio::test]
async fn preflight_warns_of_what_may_be_lost() {
    let safe = Redis::start();
    let (meta, _) = volume(&safe).await;
    assert_eq!(
        meta.preflight(&Call::internal()).await.unwrap(),
        Vec::<String>::new()
    );
    let unsafe_one =
        Redis::start_with(&["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]);
    let (meta, _) = volume(&unsafe_one).await;
    let warnings = meta.preflight(&Call::internal()).await.unwrap().join("\n");
    assert!(
        warnings.contains("appendonly yes") && warnings.contains("noeviction"),
        "{warnings}"
    );
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let redis = Redis::start();
    let (meta, _) = volume(&redis).await;
    for round in 0..3 {
        let flushed = std::process::Command::new("redis-cli")
            .args([
                "-p",
                redis.address().rsplit(':').next().unwrap(),
                "SCRIPT",
                "FLUSH",
            ])
            .output()
            .unwrap();
        assert!(flushed.status.success());
        let name = format!("f{round}");
        let (ino, _) = meta
            .create(
                &Call::internal(),
                Ino::ROOT,
                name.as_bytes(),
                &NewNode::default(),
            )
            .await
            .unwrap();
        assert_eq!(
            meta.lookup(&Call::internal(), Ino::ROOT, name.as_bytes())
                .await
                .unwrap()
                .0,
            ino
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_waited_for_until_the_deadline() {
    let redis = Redis::start();
    let (meta, _) = volume(&redis).await;
    redis.server().hang();
    let started = Instant::now();
    let call = Call {
        deadline: Some(started + Duration::from_millis(500)),
        ..Call::internal()
    };
    let answer = meta.getattr(&call, Ino::ROOT).await;
    assert!(matches!(answer, Err(Error::TimedOut(_))), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(2));
    redis.server().resume();
    meta.getattr(&Call::internal(), Ino::ROOT).await.unwrap();
}

/// Restarted again and again under load: every operation is answered, and each
/// took effect once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_are_survived_exactly_once() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (meta, session) = volume(&redis).await;
    let mut tasks = tokio::task::JoinSet::new();
    for slot in 0..4u32 {
        let meta = meta.clone();
        tasks.spawn(async move {
            let mut sequence = 0;
            let mut call = || {
                sequence += 1;
                Call {
                    session,
                    key: Some(OpKey {
                        session,
                        slot,
                        sequence,
                    }),
                    ..Call::internal()
                }
            };
            for number in 0..150 {
                let (old, new) = (format!("{slot}-{number}"), format!("{slot}-{number}-moved"));
                meta.create(&call(), Ino::ROOT, old.as_bytes(), &NewNode::default())
                    .await
                    .unwrap();
                meta.rename(
                    &call(),
                    Ino::ROOT,
                    old.as_bytes(),
                    Ino::ROOT,
                    new.as_bytes(),
                    carafe_meta::RenameFlags::NoReplace,
                )
                .await
                .unwrap();
                if number % 2 == 0 {
                    meta.unlink(&call(), Ino::ROOT, new.as_bytes())
                        .await
                        .unwrap();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        redis.restart();
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let page = meta
        .readdir(
            &Call::internal(),
            Ino::ROOT,
            carafe_meta::Cursor(0),
            1000,
            true,
        )
        .await
        .unwrap();
    assert_eq!(page.entries.len(), 300);
    let stat = meta.statfs(&Call::internal(), Ino::ROOT).await.unwrap();
    assert_eq!(stat.used_inodes, 300, "counted once each");
}
