//! Redis.

use std::process::Command;

use carafe_meta::{Call, ConnectOptions, NewNode, connect};
use carafe_testkit::{Faulty, Redis};
use carafe_types::{Ino, Secret};

use crate::server::{A_WHILE, Client, Server, format};

/// One that lets everybody in, and whose administrator has a password of its own.
pub(crate) struct Guarded(Redis);

pub(crate) fn server() -> Guarded {
    let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let server = Guarded(redis);
    let admin = [
        "ACL", "SETUSER", "admin", "on", "nopass", "~*", "&*", "+@all",
    ];
    said(&server.0, &admin);
    server
}

/// Runs a command as the user that everybody is.
fn said(redis: &Redis, words: &[&str]) -> String {
    said_by(redis, &[], words)
}

fn said_by(redis: &Redis, login: &[&str], words: &[&str]) -> String {
    let mut cli = Command::new("redis-cli");
    let cli = cli.arg("-s").arg(redis.socket()).args(login).args(words);
    let said = String::from_utf8(cli.output().unwrap().stdout).unwrap();
    assert!(
        !said.contains("ERR") && !said.contains("NOAUTH"),
        "{words:?}: {said}"
    );
    said
}

impl Guarded {
    fn admin(&self, words: &[&str]) -> String {
        let login = ["--user", "admin", "--pass", "any", "--no-auth-warning"];
        said_by(&self.0, &login, words)
    }
}

impl Faulty for Guarded {
    fn hang(&self) {
        self.0.hang();
    }

    fn resume(&self) {
        self.0.resume();
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn start_again(&mut self) {
        self.0.start_again();
    }
}

impl Server for Guarded {
    fn fresh(&self) -> String {
        self.0.url(1)
    }

    fn make_client(&mut self, password: &str) {
        self.set_password(password);
        self.admin(&["ACL", "SETUSER", "default", "off"]);
    }

    fn set_password(&self, password: &str) {
        let password = format!(">{password}");
        let user = ["ACL", "SETUSER", "client", "reset", "on", &password];
        self.admin(&[&user[..], &["~*", "&*", "+@all"]].concat());
    }

    fn end_connections(&self) {
        self.admin(&["CLIENT", "KILL", "USER", "client"]);
    }

    fn connections(&self) -> Option<usize> {
        let list = self.admin(&["CLIENT", "LIST"]);
        Some(list.matches("user=client").count())
    }

    fn client_url(&self, password: &str) -> String {
        format!("redis://client:{password}@{}/1", self.0.address())
    }

    fn anonymous_urls(&self) -> Vec<String> {
        vec![self.0.url(0), self.0.url(1)]
    }

    fn elsewhere(&self, password: &str) -> (String, &'static str) {
        (self.client_url(password).replace("/1", "/2"), "/2")
    }

    fn unusable(&self, password: &str) -> String {
        format!("redis://:{password}@host/x")
    }
}

#[tokio::test]
async fn a_unix_socket_works() {
    let redis = Redis::start();
    let url = format!("unix://{}?db=3", redis.socket().display());
    let meta = connect(&url, None, ConnectOptions::default())
        .await
        .unwrap();
    meta.format(&Call::internal(), &format(), false)
        .await
        .unwrap();
    let other = connect(&redis.url(3), None, ConnectOptions::default())
        .await
        .unwrap();
    assert_eq!(other.load(&Call::internal()).await.unwrap().name, "faults");
}

#[tokio::test]
async fn preflight_warns_of_what_may_be_lost() {
    let safe = Redis::start();
    let meta = Client::new(&safe.url(0)).await.meta;
    assert_eq!(
        meta.preflight(&Call::internal()).await.unwrap(),
        Vec::<String>::new()
    );
    let unsafe_one =
        Redis::start_with(&["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]);
    let meta = Client::new(&unsafe_one.url(0)).await.meta;
    let warnings = meta.preflight(&Call::internal()).await.unwrap().join("\n");
    assert!(
        warnings.contains("appendonly yes") && warnings.contains("noeviction"),
        "{warnings}"
    );
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let redis = Redis::start();
    let meta = Client::new(&redis.url(0)).await.meta;
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

/// `requirepass`, with the password apart from the URL, on a server that had none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_password_is_taken_over() {
    let redis = Redis::start();
    let client = Client::new(&redis.url(0)).await;
    said(&redis, &["CONFIG", "SET", "requirepass", "one"]);
    let login = ["-a", "one", "--no-auth-warning"];
    said_by(&redis, &login, &["CLIENT", "KILL", "TYPE", "normal"]);
    let creating = client.clone();
    let waiting = tokio::spawn(async move { creating.create("waiting").await });
    tokio::time::sleep(A_WHILE).await;
    assert!(!waiting.is_finished());
    let one = Secret::new("one");
    let url = redis.url(0);
    let renewed = client.meta.renew_login(&url, Some(&one));
    renewed.await.unwrap();
    waiting.await.unwrap();
}
