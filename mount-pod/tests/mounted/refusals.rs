//! What a user did wrong is said in words that help, and never shows a secret.

use crate::fixture::{Pair, Volume, carafe_fails};

#[test]
fn an_unformatted_engine_says_what_to_do() {
    let scratch = tempfile::tempdir().unwrap();
    let url = format!("sqlite3://{}/empty.db", scratch.path().display());
    let said = carafe_fails(&["mount", &url, scratch.path().to_str().unwrap()]);
    assert!(said.contains("carafe format"), "names the command: {said}");
}

#[test]
fn an_engine_that_is_not_built_lists_those_that_are() {
    let said = carafe_fails(&["status", "tikv://user:hunter2@host/db"]);
    assert!(
        said.contains("sqlite3") && said.contains("redis"),
        "lists what is built: {said}"
    );
    assert!(!said.contains("hunter2"), "shows no password: {said}");
}

#[test]
fn a_store_that_is_not_built_lists_those_that_are() {
    let scratch = tempfile::tempdir().unwrap();
    let url = format!("sqlite3://{}/meta.db", scratch.path().display());
    let said = carafe_fails(&["format", &url, "demo", "--storage", "ceph", "--bucket", "x"]);
    assert!(
        said.contains("ceph") && said.contains("s3"),
        "names both: {said}"
    );
}

#[test]
fn a_wrong_database_password_is_named_and_not_shown() {
    let volume = Volume::formatted(Pair::RedisS3);
    let url = volume.url_with_password("wrong-hunter2");
    let said = carafe_fails(&["status", &url]);
    assert!(
        said.to_lowercase().contains("password"),
        "says what is wrong: {said}"
    );
    assert!(!said.contains("hunter2"), "shows no password: {said}");
}

#[test]
fn a_wrong_store_key_fails_the_format() {
    let volume = Volume::formatted(Pair::RedisS3);
    let scratch = tempfile::tempdir().unwrap();
    let url = format!("sqlite3://{}/meta.db", scratch.path().display());
    let bucket = volume.bucket();
    let said = carafe_fails(&[
        "format",
        &url,
        "demo",
        "--storage",
        "s3",
        "--bucket",
        &bucket,
        "--access-key",
        "who",
        "--secret-key",
        "hunter2",
    ]);
    assert!(said.contains("object store"), "names the store: {said}");
    assert!(!said.contains("hunter2"), "shows no secret: {said}");
}

#[test]
fn a_bad_option_and_a_bad_name_are_named() {
    let scratch = tempfile::tempdir().unwrap();
    let url = format!("sqlite3://{}/meta.db", scratch.path().display());
    assert!(carafe_fails(&["format", &url, "No Good"]).contains("No Good"));
    let said = carafe_fails(&[
        "mount",
        &url,
        scratch.path().to_str().unwrap(),
        "-o",
        "bufer-size=100",
    ]);
    assert!(said.contains("bufer-size"), "names the option: {said}");
}
