//! Programs that people trust with their data.

use std::fs;

use crate::fixture::{Pair, Volume, run, shell};

#[test]
fn git_clones_checks_and_collects_on_sqlite() {
    git(Pair::SqliteFile);
}

#[test]
fn git_clones_checks_and_collects_on_redis() {
    git(Pair::RedisS3);
}

fn git(pair: Pair) {
    let volume = Volume::mounted(pair);
    let origin = tempfile::tempdir().unwrap();
    let (from, to) = (origin.path().display().to_string(), volume.path("clone"));
    shell(&format!(
        "cd {from} && git init -q -b main . && for d in a b c; do mkdir -p $d; for f in $(seq 60); do \
         head -c $((f * 97)) /dev/urandom | base64 > $d/$f; done; git add -A; \
         git -c user.name=t -c user.email=t@t commit -qm $d; done",
    ));
    run("git", &["clone", "-q", "--no-local", &from, &to]);
    run("git", &["-C", &to, "fsck", "--full", "--strict"]);
    assert_eq!(
        run("git", &["-C", &to, "status", "--porcelain"]),
        "",
        "a fresh clone has no changes"
    );
    run("git", &["-C", &to, "gc", "-q", "--aggressive"]);
    run("git", &["-C", &to, "fsck", "--full"]);
}

#[test]
fn sqlite_keeps_every_row_of_concurrent_writers_on_sqlite() {
    for journal in ["delete", "wal"] {
        concurrent_writers(Pair::SqliteFile, journal);
    }
}

#[test]
fn sqlite_keeps_every_row_of_concurrent_writers_on_redis() {
    for journal in ["delete", "wal"] {
        concurrent_writers(Pair::RedisS3, journal);
    }
}

fn concurrent_writers(pair: Pair, journal: &str) {
    let volume = Volume::mounted(pair);
    let database = volume.path("app.db");
    let sql = |text: &str| run("sqlite3", &["-cmd", ".timeout 60000", &database, text]);
    sql(&format!(
        "PRAGMA journal_mode={journal}; CREATE TABLE t (writer INT, n INT);"
    ));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            scope.spawn(move || {
                for n in 0..25 {
                    sql(&format!("INSERT INTO t VALUES ({writer}, {n});"));
                }
            });
        }
    });
    assert_eq!(
        sql("SELECT count(*), count(DISTINCT writer * 100 + n) FROM t;").trim(),
        "100|100"
    );
    assert_eq!(sql("PRAGMA integrity_check;").trim(), "ok");
}

#[test]
fn fio_verifies_what_it_wrote_on_sqlite() {
    fio(Pair::SqliteFile);
}

#[test]
fn fio_verifies_what_it_wrote_on_redis() {
    fio(Pair::RedisS3);
}

fn fio(pair: Pair) {
    let volume = Volume::mounted(pair);
    let directory = format!("--directory={}", volume.path(""));
    let common = [
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--group_reporting",
        "--minimal",
        directory.as_str(),
    ];
    let sequential = [
        "--name=sequential",
        "--rw=write",
        "--bs=1M",
        "--size=96M",
        "--end_fsync=1",
    ];
    let random = [
        "--name=random",
        "--rw=randwrite",
        "--bs=4k",
        "--size=8M",
        "--numjobs=2",
        "--end_fsync=1",
    ];
    let mapped = [
        "--name=mapped",
        "--rw=randwrite",
        "--bs=4k",
        "--size=4M",
        "--ioengine=mmap",
        "--end_fsync=1",
    ];
    for job in [&sequential[..], &random[..], &mapped[..]] {
        run("fio", &[job, &common[..]].concat());
    }
}

#[test]
fn fsx_finds_no_difference_on_sqlite() {
    fsx(Pair::SqliteFile);
}

#[test]
fn fsx_finds_no_difference_on_redis() {
    fsx(Pair::RedisS3);
}

/// Mapped reads and writes and invalidation among all others. `CARAFE_FSX_OPERATIONS`
/// says how many. Without a trash, or it would hold everything that was ever written.
fn fsx(pair: Pair) {
    let operations = std::env::var("CARAFE_FSX_OPERATIONS").unwrap_or_else(|_| "100000".into());
    let mut volume = Volume::formatted_with(pair, &["--trash-days", "0"]);
    volume.mount(&[]);
    let config = volume.scratch("fsx.toml");
    fs::write(&config, include_str!("fsx.toml")).unwrap();
    let file = volume.path("fsx.dat");
    run(
        carafe_testkit::tool("fsx"),
        &["-f", &config, "-N", &operations, "-S", "7", &file],
    );
}
