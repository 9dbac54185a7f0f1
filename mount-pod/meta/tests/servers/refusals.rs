//! What cannot be opened says why, and never what is secret.

use carafe_testkit::{MariaDb, Postgres, free_port};

use crate::server::refusal;

const SECRET: &str = "s3cr3t-of-the-test";

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
        (
            "etcd://me:s3cr3t-of-the-test@host:x/x",
            "etcd://host:2379/prefix",
        ),
    ] {
        let error = refusal(url).await;
        let text = format!("{error} {error:?}");
        assert!(
            text.contains(expected) && !text.contains(SECRET),
            "{url}: {text}"
        );
    }
}

#[tokio::test]
async fn nobody_is_told_apart_from_a_missing_database() {
    let port = free_port();
    for url in [
        format!("redis://:{SECRET}@127.0.0.1:{port}/0"),
        format!("postgres://me:{SECRET}@127.0.0.1:{port}/db"),
        format!("mysql://me:{SECRET}@(127.0.0.1:{port})/db"),
        format!("etcd://me:{SECRET}@127.0.0.1:{port}/x"),
    ] {
        let said = refusal(&url).await.to_string();
        assert!(
            said.contains("cannot be reached") && said.contains("refused"),
            "{said}"
        );
        assert!(!said.contains(SECRET), "{said}");
    }
    for url in [
        Postgres::shared().url("nothing"),
        MariaDb::shared().url("nothing"),
    ] {
        let said = refusal(&url).await.to_string();
        assert!(said.contains("nothing"), "{said}");
    }
}
