//! Several clients at work on one file, in turns that locks give them.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsRawFd,
};

use rustix::fs::{FlockOperation, fcntl_lock, flock};

use crate::fixture::{Pair, Volume};

/// How often each worker adds one.
const TURNS: u32 = 15;

/// Which locks give the turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bsd,
    Posix,
}

#[test]
fn clients_take_turns_on_one_file_on_sqlite() {
    turns(Pair::SqliteFile);
}

#[test]
fn clients_take_turns_on_one_file_on_redis() {
    turns(Pair::RedisS3);
}

/// A sum that loses nothing, although each worker reads it, adds one and writes it.
fn turns(pair: Pair) {
    let mut volume = Volume::mounted(pair);
    let mounts = [volume.path(""), format!("{}/", volume.second_mount())];
    // POSIX locks are the process's: two of its threads do not exclude each other.
    for (kind, workers) in [(Kind::Bsd, 2), (Kind::Posix, 1)] {
        fs::write(volume.path("sum"), "0").unwrap();
        std::thread::scope(|scope| {
            for mount in mounts.iter().flat_map(|mount| vec![mount; workers]) {
                scope.spawn(move || (0..TURNS).for_each(|_| add_one(mount, kind)));
            }
        });
        let sum: u32 = fs::read_to_string(volume.path("sum"))
            .unwrap()
            .parse()
            .unwrap();
        let expected = TURNS * (mounts.len() * workers) as u32;
        assert_eq!(sum, expected, "{pair:?}, {kind:?}");
    }
}

#[test]
fn who_opens_sees_what_another_client_closed_on_sqlite() {
    close_to_open(Pair::SqliteFile);
}

#[test]
fn who_opens_sees_what_another_client_closed_on_redis() {
    close_to_open(Pair::RedisS3);
}

/// Also what the kernel has attributes and pages of, from moments before.
fn close_to_open(pair: Pair) {
    let mut volume = Volume::mounted(pair);
    let (written, read) = (
        volume.path("file"),
        format!("{}/file", volume.second_mount()),
    );
    let mut expected = String::new();
    for number in 0..20 {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(&written)
            .unwrap();
        let line = format!("line {number}\n");
        file.write_all(line.as_bytes()).unwrap();
        drop(file);
        expected += &line;
        let found = fs::read_to_string(&read).unwrap();
        assert_eq!(found, expected, "{pair:?}: open after the close");
        assert_eq!(fs::read_to_string(&read).unwrap(), expected, "and again");
    }
    fs::write(&written, "short").unwrap();
    assert_eq!(fs::read_to_string(&read).unwrap(), "short", "{pair:?}");
}

#[test]
fn who_opens_to_append_goes_on_where_another_client_ended_on_sqlite() {
    append_in_turns(Pair::SqliteFile);
}

#[test]
fn who_opens_to_append_goes_on_where_another_client_ended_on_redis() {
    append_in_turns(Pair::RedisS3);
}

/// With what the kernel knows of moments before.
fn append_in_turns(pair: Pair) {
    let mut volume = Volume::mounted(pair);
    let paths = [volume.path("log"), format!("{}/log", volume.second_mount())];
    let mut expected = String::new();
    for number in 0..20 {
        let mut options = File::options();
        let options = options.append(true).create(true);
        let mut file = options.open(&paths[number % 2]).unwrap();
        let line = format!("line {number}\n");
        file.write_all(line.as_bytes()).unwrap();
        drop(file);
        expected += &line;
        for path in &paths {
            assert_eq!(&fs::read_to_string(path).unwrap(), &expected, "{pair:?}");
        }
    }
    // A descriptor's own path has no name to look up: nothing fails, at least.
    let held = File::open(&paths[0]).unwrap();
    fs::write(&paths[1], "another length").unwrap();
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let reopened = File::options().append(true).open(path);
    reopened.expect("reopened to append");
}

fn add_one(mount: &str, kind: Kind) {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let lock = options.open(format!("{mount}lock")).unwrap();
    match kind {
        Kind::Bsd => flock(&lock, FlockOperation::LockExclusive).unwrap(),
        Kind::Posix => fcntl_lock(&lock, FlockOperation::LockExclusive).unwrap(),
    }
    let sum: u32 = fs::read_to_string(format!("{mount}sum"))
        .unwrap()
        .parse()
        .unwrap();
    fs::write(format!("{mount}sum"), (sum + 1).to_string()).unwrap();
}
