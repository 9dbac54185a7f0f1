//! How many trips to the engine operations take, which is what they cost over a network:
//! counted and not timed, so that a load on this machine changes nothing.
//!
//! After each change of a directory the kernel asks for its attributes again: these are
//! answered from what the client knows.

use std::fs::{self, File};

use crate::fixture::{Pair, Volume, run};

const FILES: u64 = 200;
/// Trips that are no file's: the counting itself, heartbeats, ids in stock, and those of
/// the ten directories of a tree, some six for each.
const BESIDE: u64 = 90;
/// The kernel keeps what it knows for longer than the test takes.
const KEEPING: [&str; 2] = ["-o", "entry-cache=300,dir-entry-cache=300,attr-cache=300"];

/// Counts the trips of `work`, which does something `FILES` times.
fn at_most(volume: &Volume, each: u64, what: &str, work: impl FnOnce()) {
    let before = volume.redis_reads();
    work();
    let trips = volume.redis_reads() - before;
    eprintln!("{what}: {trips} trips for {FILES}");
    let most = each * FILES + BESIDE;
    assert!(
        trips <= most,
        "{what}: {trips} trips, where {each} each make {most}"
    );
}

fn each(volume: &Volume, work: impl Fn(String)) {
    (0..FILES).for_each(|number| work(volume.path(&format!("dir/file-{number}"))));
}

fn with_files(content: &[u8]) -> Volume {
    let mut volume = Volume::formatted(Pair::RedisS3);
    volume.mount(&KEEPING);
    fs::create_dir(volume.path("dir")).unwrap();
    each(&volume, |path| fs::write(path, content).unwrap());
    volume.unmount();
    volume.mount(&KEEPING);
    volume
}

fn list(volume: &Volume) {
    let entries = fs::read_dir(volume.path("dir")).unwrap();
    let seen = entries.map(|entry| fs::symlink_metadata(entry.unwrap().path()).unwrap());
    assert_eq!(seen.count() as u64, FILES, "entries of the directory");
}

#[test]
fn making_a_file_takes_a_trip_to_look_and_one_to_make() {
    let mut volume = Volume::formatted(Pair::RedisS3);
    volume.mount(&KEEPING);
    fs::create_dir(volume.path("dir")).unwrap();
    at_most(&volume, 2, "create", || {
        each(&volume, |path| drop(File::create(path).unwrap()));
    });
    // To look, to open, to cut, to commit.
    at_most(&volume, 4, "write over and close", || {
        each(&volume, |path| fs::write(path, b"content").unwrap());
    });
}

#[test]
fn a_cold_file_takes_a_trip_to_be_found_and_one_to_be_opened_and_read() {
    let volume = with_files(b"content");
    at_most(&volume, 1, "stat, cold", || {
        each(&volume, |path| {
            assert!(fs::symlink_metadata(path).unwrap().is_file());
        });
    });
    at_most(&volume, 1, "open, read and close", || {
        each(&volume, |path| {
            assert_eq!(fs::read(path).unwrap(), b"content");
        });
    });
}

#[test]
fn a_listing_takes_no_trip_for_each_entry() {
    let volume = with_files(b"");
    at_most(&volume, 0, "readdir and lstat, cold", || list(&volume));
}

#[test]
fn what_was_listed_is_removed_in_a_trip() {
    let volume = with_files(b"content");
    list(&volume);
    at_most(&volume, 2, "rename to a new name", || {
        each(&volume, |path| {
            fs::rename(&path, format!("{path}-new")).unwrap();
        });
    });
    at_most(&volume, 1, "unlink", || {
        each(&volume, |path| {
            fs::remove_file(format!("{path}-new")).unwrap();
        });
    });
}

#[test]
fn a_tree_is_copied_and_removed_in_few_trips() {
    let mut volume = Volume::formatted(Pair::RedisS3);
    volume.mount(&KEEPING);
    let local = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        let dir = local.path().join(format!("dir-{}", number / 20));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("file-{number}")), number.to_string()).unwrap();
    }
    let (source, tree) = (local.path().to_str().unwrap(), volume.path("tree"));
    // To look, to make, to commit, to set owner, mode and times.
    at_most(&volume, 6, "cp -a", || {
        run("cp", &["-a", source, &tree]);
    });
    volume.unmount();
    volume.mount(&KEEPING);
    at_most(&volume, 2, "rm -rf, cold", || {
        run("rm", &["-rf", &tree]);
    });
}
