//! Both clients at once: counters under both kinds of locks, a log that both append to,
//! names that both make, move and remove.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, fcntl_lock, flock};

use crate::{
    fixture::{Pair, Volume},
    peer::PeerMount,
};

/// Who may lock: programs through BSD locks, two on each mount, and through POSIX locks,
/// one on each, since all threads of a process are one owner.
const FLOCKERS: usize = 2;
/// Names that both fight for.
const NAMES: usize = 8;

#[derive(Clone, Copy)]
enum Lock {
    Bsd,
    Posix,
}

/// What was done, to be found again.
#[derive(Default)]
struct Done {
    bsd: AtomicU64,
    posix: AtomicU64,
}

/// Lets both work on `load` for so long, and compares what both say of it then.
pub(super) fn both_at_once(pair: Pair, volume: &Volume, theirs: &PeerMount, time: Duration) {
    let mounts = [volume.path("load"), format!("{}/load", theirs.0)];
    fs::create_dir(&mounts[0]).unwrap();
    for name in ["bsd", "posix"] {
        fs::write(format!("{}/{name}", mounts[0]), counter(0)).unwrap();
        fs::write(format!("{}/{name}.lock", mounts[0]), "").unwrap();
    }
    fs::write(format!("{}/log", mounts[0]), "").unwrap();
    // On these, `juicefs` 1.3.1 answers EIO to a rename whose source another client removes,
    // and miscounts statistics, also where all clients are its own.
    let apart = matches!(pair, Pair::PostgresFile | Pair::MariaDbFile);
    let (until, done) = (Instant::now() + time, Done::default());
    std::thread::scope(|scope| {
        for (who, at) in mounts.iter().enumerate() {
            for thread in 0..FLOCKERS {
                let (done, name) = (&done, format!("{who}{thread}"));
                scope.spawn(move || count(at, Lock::Bsd, &name, until, &done.bsd));
            }
            let done = &done;
            scope.spawn(move || count(at, Lock::Posix, "", until, &done.posix));
            scope.spawn(move || churn(at, who, apart, until));
        }
    });
    for at in &mounts {
        check(at, &done);
    }
    assert_eq!(
        kept(&mounts[0]),
        kept(&mounts[1]),
        "both list the same names"
    );
}

/// A number of a fixed width: what changes is content, not length.
fn counter(value: u64) -> String {
    format!("{value:020}")
}

/// Adds one to a counter again and again, under a lock, as a user's program would: the
/// file is opened anew under the lock.
fn count(at: &str, lock: Lock, name: &str, until: Instant, done: &AtomicU64) {
    let kind = match lock {
        Lock::Bsd => "bsd",
        Lock::Posix => "posix",
    };
    let path = format!("{at}/{kind}");
    let guard = OpenOptions::new().write(true).open(format!("{path}.lock"));
    let guard = guard.unwrap();
    let hold = |operation| match lock {
        Lock::Bsd => flock(&guard, operation).unwrap(),
        Lock::Posix => fcntl_lock(&guard, operation).unwrap(),
    };
    while Instant::now() < until {
        hold(FlockOperation::LockExclusive);
        let value = add_one(&path);
        if matches!(lock, Lock::Bsd) {
            append(&format!("{at}/log"), &format!("{value} {name}\n"));
        }
        hold(FlockOperation::Unlock);
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn add_one(path: &str) -> u64 {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let value = text.parse::<u64>().unwrap() + 1;
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(counter(value).as_bytes()).unwrap();
    value
}

fn append(path: &str, line: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// Makes, moves, links and removes what the other client does, too, or names of its own
/// `apart` in the same directory; and keeps a file of its own now and then.
fn churn(at: &str, who: usize, apart: bool, until: Instant) {
    let settle = |outcome: std::io::Result<()>| settle(at, outcome);
    let whose = if apart {
        format!("own-{who}")
    } else {
        "both".to_owned()
    };
    let name = |number: usize| format!("{at}/{whose}-{}", number % NAMES);
    let dir = format!("{at}/{whose}-dir");
    let mut number = who * 5;
    while Instant::now() < until {
        number += 7;
        let (one, other) = (name(number), name(number * 3 + 1));
        settle(fs::write(&one, format!("{who} {number}")));
        settle(fs::rename(&one, &other));
        settle(fs::hard_link(&other, &one));
        settle(fs::remove_file(&other));
        settle(fs::create_dir(&dir));
        settle(fs::rename(&one, format!("{dir}/{who}")));
        settle(fs::remove_dir_all(&dir));
        let kept = format!("{at}/kept-{who}-{number}");
        fs::write(&kept, &kept[at.len()..]).unwrap();
    }
}

/// The other client may have been first; nothing else may go wrong.
#[track_caller]
fn settle(at: &str, outcome: std::io::Result<()>) {
    let first = [
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::DirectoryNotEmpty,
    ];
    if let Err(error) = outcome {
        assert!(first.contains(&error.kind()), "{at}: {error:?}");
    }
}

/// Nothing that was counted, logged or kept is lost.
fn check(at: &str, done: &Done) {
    let number = |name: &str| {
        let text = fs::read_to_string(format!("{at}/{name}")).unwrap();
        text.parse::<u64>().unwrap()
    };
    let (bsd, posix) = (
        done.bsd.load(Ordering::Relaxed),
        done.posix.load(Ordering::Relaxed),
    );
    assert_eq!((number("bsd"), number("posix")), (bsd, posix), "{at}");
    assert!(bsd > 0 && posix > 0, "all got their turn");
    let log = fs::read_to_string(format!("{at}/log")).unwrap();
    let number = |line: &str| line.split(' ').next().unwrap().parse().ok();
    let lines: Vec<Option<u64>> = log.lines().map(number).collect();
    let all = (1..=bsd).map(Some).collect::<Vec<_>>();
    assert!(lines == all, "{at}: {bsd} lines of the log: {log}");
    for name in kept(at) {
        let Some(number) = name.strip_prefix("kept-") else {
            continue;
        };
        let mut text = String::new();
        let mut file = File::open(format!("{at}/{name}")).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("/kept-{number}"), "{at}");
    }
}

fn kept(at: &str) -> BTreeSet<String> {
    let names = fs::read_dir(at).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
