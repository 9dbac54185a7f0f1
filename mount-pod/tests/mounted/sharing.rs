//! Several clients at work on one file, in turns that locks give them.

use std::fs::{self, File};

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
