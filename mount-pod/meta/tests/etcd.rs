//! etcd: what it refuses, faults, TLS, and logins that change.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use carafe_meta::{
    Call, ConnectError, ConnectOptions, Cursor, Meta, NewNode, OpKey, RenameFlags, RenewError,
    SessionInfo, connect,
};
use carafe_testkit::{Etcd, free_port};
use carafe_types::{Error, Format, Ino, Secret, SessionId};

const SECRET: &str = "s3cr3t-of-the-test";
/// Longer than a refused client pauses between two attempts.
const A_WHILE: Duration = Duration::from_millis(300);

fn options() -> ConnectOptions {
    ConnectOptions {
        timeout: Duration::from_secs(5),
        ..ConnectOptions::default()
    }
}

/// A client of a fresh volume, whose mutations take effect once.
#[derive(Clone)]
struct Client {
    meta: Arc<dyn Meta>,
    session: SessionId,
}

async fn volume(url: &str) -> Client {
    let meta = connect(url, None, options()).await.unwrap();
    let format = Format {
        name: "faults".into(),
        uuid: "u".into(),
        trash_days: 0,
        ..Format::default()
    };
    let internal = Call::internal();
    meta.format(&internal, &format, false).await.unwrap();
    let info = SessionInfo::default();
    let session = meta.new_session(&internal, &info).await.unwrap();
    Client { meta, session }
}

impl Client {
    fn call(&self, slot: u32, sequence: u64) -> Call {
        let session = self.session;
        let key = OpKey {
            session,
            slot,
            sequence,
        };
        Call {
            session,
            key: Some(key),
            ..Call::internal()
        }
    }

    async fn create(&self, name: &str) {
        let call = self.call(7, name.len() as u64);
        let made = NewNode::default();
        let name = name.as_bytes();
        self.meta
            .create(&call, Ino::ROOT, name, &made)
            .await
            .unwrap();
        let internal = Call::internal();
        self.meta.lookup(&internal, Ino::ROOT, name).await.unwrap();
    }

    /// Makes, moves and removes files, each step once.
    async fn churn(self, slot: u32, files: u32) {
        let mut sequence = 0;
        let mut call = || {
            sequence += 1;
            self.call(slot, sequence)
        };
        for number in 0..files {
            let (old, new) = (format!("{slot}-{number}"), format!("{slot}-{number}-moved"));
            let (old, new) = (old.as_bytes(), new.as_bytes());
            let (root, made) = (Ino::ROOT, NewNode::default());
            self.meta.create(&call(), root, old, &made).await.unwrap();
            let flags = RenameFlags::NoReplace;
            let call_again = call();
            let moved = self.meta.rename(&call_again, root, old, root, new, flags);
            moved.await.unwrap();
            if number % 2 == 0 {
                self.meta.unlink(&call(), root, new).await.unwrap();
            }
        }
    }
}

async fn refusal(url: &str) -> ConnectError {
    connect(url, None, options()).await.err().unwrap()
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let nobody = format!("etcd://me:{SECRET}@127.0.0.1:{}/x", free_port());
    let nobody = refusal(&nobody).await.to_string();
    for expected in ["cannot be reached", "refused"] {
        assert!(nobody.contains(expected), "{nobody}");
    }
    let bad = refusal(&format!("etcd://me:{SECRET}@host:x/x")).await;
    assert!(bad.to_string().contains("etcd://host:2379/prefix"), "{bad}");
    assert!(!format!("{nobody} {bad} {bad:?}").contains(SECRET));
}

#[tokio::test]
async fn prefixes_are_volumes_of_their_own() {
    let (one, other) = (Etcd::fresh_url(), Etcd::fresh_url());
    let client = volume(&one).await;
    assert!(!client.meta.name().is_empty());
    let other = connect(&other, None, options()).await.unwrap();
    let loaded = other.load(&Call::internal()).await;
    assert_eq!(loaded, Err(Error::NotFound), "not formatted");
    let warnings = client.meta.preflight(&Call::internal()).await;
    assert_eq!(warnings, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_waited_for_until_the_deadline() {
    let etcd = Etcd::start();
    let Client { meta, .. } = volume(&etcd.url("v")).await;
    etcd.server().hang();
    let started = Instant::now();
    let call = Call {
        deadline: Some(started + Duration::from_millis(500)),
        ..Call::internal()
    };
    let answer = meta.getattr(&call, Ino::ROOT).await;
    assert!(matches!(answer, Err(Error::TimedOut(_))), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(2));
    etcd.server().resume();
    meta.getattr(&Call::internal(), Ino::ROOT).await.unwrap();
}

/// Restarted again and again under load: every operation is answered, and each took
/// effect once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_are_survived_exactly_once() {
    let mut etcd = Etcd::start();
    let client = volume(&etcd.url("v")).await;
    let mut tasks = tokio::task::JoinSet::new();
    for slot in 0..4 {
        tasks.spawn(client.clone().churn(slot, 60));
    }
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        etcd.restart();
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let internal = Call::internal();
    let page = client
        .meta
        .readdir(&internal, Ino::ROOT, Cursor(0), 1000, true);
    assert_eq!(page.await.unwrap().entries.len(), 120);
    let stat = client.meta.statfs(&internal, Ino::ROOT).await.unwrap();
    assert_eq!(stat.used_inodes, 120, "counted once each");
}

#[tokio::test]
async fn tls_is_spoken_both_ways() {
    let etcd = Etcd::start_tls();
    let file = |name: &str| etcd.file(name).display().to_string();
    let certificate = format!("cert={}&key={}", file("client.crt"), file("client.key"));
    let url = |options: &str| format!("{}?{options}", etcd.url("v"));
    let whole = url(&format!("cacert={}&{certificate}", file("ca.crt")));
    volume(&whole).await.create("over tls").await;
    let anybody = url(&format!("insecure-skip-verify=1&{certificate}"));
    let meta = connect(&anybody, None, options()).await.unwrap();
    assert_eq!(meta.load(&Call::internal()).await.unwrap().name, "faults");

    for (options, expected) in [
        (format!("cacert={}", file("ca.crt")), "give cert and key"),
        (
            format!("cacert={}&{certificate}", file("client.crt")),
            "certificate",
        ),
        (
            format!(
                "cacert={}&{certificate}&server-name=elsewhere",
                file("ca.crt")
            ),
            "elsewhere",
        ),
        (
            format!("cacert={}&{certificate}", file("client.key")),
            "no certificate in it",
        ),
    ] {
        let error = refusal(&url(&options)).await.to_string();
        assert!(error.contains(expected), "{options}: {error}");
    }
}

/// An etcd with users: the client may do what it needs under `v`, and nothing else.
struct Guarded {
    etcd: Etcd,
    token: String,
}

impl Guarded {
    fn start() -> Self {
        let etcd = Etcd::start();
        let mut guarded = Self {
            etcd,
            token: String::new(),
        };
        // The keys from "/v\xfd" to "/v\xfe".
        let keys = r#""perm":{"permType":"READWRITE","key":"L3b9","range_end":"L3b+"}"#;
        guarded.admin("auth/role/add", r#"{"name":"root"}"#);
        guarded.admin("auth/role/add", r#"{"name":"volume"}"#);
        guarded.admin("auth/role/grant", &format!(r#"{{"name":"volume",{keys}}}"#));
        for (name, password, role) in [("root", "root", "root"), ("client", "one", "volume")] {
            let user = format!(r#"{{"name":"{name}","password":"{password}"}}"#);
            guarded.admin("auth/user/add", &user);
            let grant = format!(r#"{{"user":"{name}","role":"{role}"}}"#);
            guarded.admin("auth/user/grant", &grant);
        }
        guarded.admin("auth/enable", "{}");
        let login = r#"{"name":"root","password":"root"}"#;
        let said = guarded.etcd.call("auth/authenticate", login, None);
        let token = said.split(r#""token":""#).nth(1).unwrap();
        guarded.token.push_str(token.split('"').next().unwrap());
        guarded
    }

    fn admin(&self, path: &str, message: &str) {
        let token = Some(self.token.as_str()).filter(|token| !token.is_empty());
        self.etcd.call(path, message, token);
    }

    /// Ends the user's tokens, too.
    fn set_password(&self, password: &str) {
        let user = format!(r#"{{"name":"client","password":"{password}"}}"#);
        self.admin("auth/user/changepw", &user);
    }

    fn url(&self, password: &str) -> String {
        format!("etcd://client:{password}@{}/v", self.etcd.address())
    }
}

/// Creates files one after another until told to stop; answers how many.
fn busy(client: &Client) -> (tokio::task::JoinHandle<u64>, Arc<AtomicBool>) {
    let (client, stop) = (client.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let work = tokio::spawn(async move {
        let mut done = 0;
        while !stopped.load(Ordering::Relaxed) {
            let (name, made) = (format!("busy-{done}"), NewNode::default());
            let call = client.call(3, done + 1);
            let made = client.meta.create(&call, Ino::ROOT, name.as_bytes(), &made);
            made.await.unwrap();
            done += 1;
        }
        done
    });
    (work, stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_login_is_told_and_never_shown() {
    let guarded = Guarded::start();
    let wrong = refusal(&guarded.url(SECRET)).await;
    assert!(matches!(wrong, ConnectError::Refused { .. }), "{wrong}");
    let none = refusal(&guarded.etcd.url("v")).await;
    assert!(matches!(none, ConnectError::Refused { .. }), "{none}");
    let elsewhere = refusal(&guarded.url("one").replace("/v", "/other")).await;
    assert!(
        elsewhere.to_string().contains("grant readwrite"),
        "{elsewhere}"
    );
    for error in [&wrong, &none] {
        let said = format!("{error} {error:?}");
        assert!(
            said.contains("META_PASSWORD") && !said.contains(SECRET),
            "{said}"
        );
    }
    let given = Secret::new("one");
    let meta = connect(&guarded.url(SECRET), Some(&given), options())
        .await
        .unwrap();
    assert!(!meta.name().contains(SECRET) && !meta.name().contains("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_changes_first() {
    let guarded = Guarded::start();
    let client = volume(&guarded.url("one")).await;
    let (work, stop) = busy(&client);
    guarded.set_password("two");
    tokio::time::sleep(A_WHILE).await;
    assert!(!work.is_finished(), "it waits for a login that works");
    client
        .meta
        .renew_login(&guarded.url("two"), None)
        .await
        .unwrap();
    client.create("after").await;
    stop.store(true, Ordering::Relaxed);
    assert!(work.await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_changes_first() {
    let guarded = Guarded::start();
    let client = volume(&guarded.url("one")).await;
    let (work, stop) = busy(&client);
    let early = client.meta.renew_login(&guarded.url("two"), None).await;
    let Err(RenewError::Pending(ConnectError::Refused { reason, .. })) = &early else {
        panic!("{early:?}");
    };
    assert!(!reason.contains("two"), "{reason}");
    client.create("with the old token").await;
    guarded.set_password("two");
    client.create("with the new login then").await;
    stop.store(true, Ordering::Relaxed);
    assert!(work.await.unwrap() > 0);
    // The old password is forgotten: it is not tried when it works again.
    guarded.set_password("one");
    let call = Call {
        deadline: Some(Instant::now() + A_WHILE),
        ..Call::internal()
    };
    let refused = client.meta.getattr(&call, Ino::ROOT).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("password is wrong"), "{refused}");
}

#[tokio::test]
async fn another_place_is_refused() {
    let client = volume(&Etcd::fresh_url()).await;
    let name = client.meta.name();
    for (url, named) in [
        (
            format!("{name}-other").replace("//", "//me:s3cret@"),
            "-other",
        ),
        (
            "etcd://me:s3cret@elsewhere/v".into(),
            "etcd://elsewhere:2379/v",
        ),
        ("redis://:s3cret@elsewhere/1".into(), "redis://"),
    ] {
        let error = client.meta.renew_login(&url, None).await.unwrap_err();
        assert!(matches!(error, RenewError::Elsewhere { .. }), "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(named) && !said.contains("s3cret"), "{said}");
    }
    client.create("as before").await;
}
