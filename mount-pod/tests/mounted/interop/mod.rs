//! Each engine under both clients: what one writes the other reads, both work on one
//! volume at once, each undoes and copies what the other made, and in the end all that
//! either has to check a volume finds nothing.

mod load;
mod trees;

use std::time::Duration;

use carafe_testkit::juicefs;

use crate::{
    administration::{contents, wait_until},
    fixture::{Pair, Volume, run, shell},
    peer::{PeerMount, peer, warns},
};

#[test]
#[ignore = "of `make test-full`"]
fn both_clients_agree_on_sqlite() {
    agree(Pair::SqliteFile);
}

#[test]
#[ignore = "of `make test-full`"]
fn both_clients_agree_on_redis() {
    agree(Pair::RedisS3);
}

#[test]
#[ignore = "of `make test-full`"]
fn both_clients_agree_on_postgres() {
    agree(Pair::PostgresFile);
}

#[test]
#[ignore = "of `make test-full`"]
fn both_clients_agree_on_mariadb() {
    agree(Pair::MariaDbFile);
}

#[test]
#[ignore = "of `make test-full`"]
fn both_clients_agree_on_etcd() {
    agree(Pair::EtcdFile);
}

/// How long both write at once; `CARAFE_INTEROP_SECONDS` asks for the whole matrix, in
/// which the peer's volume is tried as well as ours.
fn agree(pair: Pair) {
    let asked = std::env::var("CARAFE_INTEROP_SECONDS").ok();
    let seconds = asked.as_ref().map_or(2, |text| text.parse().unwrap());
    let time = Duration::from_secs(seconds);
    round(pair, ours(pair), time);
    if asked.is_some() {
        round(pair, theirs(pair), time);
    }
}

/// The setting of the volumes, as both spell it.
const SETTING: [&str; 3] = ["--enable-acl", "--trash-days", "1"];

fn ours(pair: Pair) -> Volume {
    Volume::formatted_with(pair, &SETTING)
}

fn theirs(pair: Pair) -> Volume {
    let volume = Volume::unformatted(pair);
    let setting = [&volume.store_arguments()[..], &SETTING].concat();
    let place = ["format", volume.peer_url(), "mounted"];
    run(juicefs(), &[&place[..], &setting[..]].concat());
    volume
}

fn round(pair: Pair, mut volume: Volume, time: Duration) {
    trees::each_reads_the_others(pair, &mut volume);
    // The other client's changes must be seen at once. With the default of both, 1 s, what
    // either appends may lie on what the other has appended since.
    volume.mount(&[
        "-o",
        "enable-xattr,attr-cache=0,entry-cache=0,dir-entry-cache=0",
    ]);
    let uncached = ["--attr-cache=0", "--entry-cache=0", "--dir-entry-cache=0"];
    let theirs = PeerMount::with(&volume, &[&["--enable-xattr"][..], &uncached].concat());
    each_sees_the_others_work(&volume, &theirs);
    load::both_at_once(pair, &volume, &theirs, time);
    drop(theirs);
    volume.unmount();
    all_is_clean(&volume);
}

/// Clones, compacts, removes and restores through one, and looks through the other.
fn each_sees_the_others_work(volume: &Volume, theirs: &PeerMount) {
    let ours = |name: &str| volume.path(name);
    let peers = |name: &str| format!("{}/{name}", theirs.0);
    let written = contents(&ours("ours/a"));
    volume.carafe(&["clone", "-p"], &["/ours/a", "/our-copy"]);
    run(
        juicefs(),
        &["clone", &peers("ours/a"), &peers("their-copy")],
    );
    assert_eq!(contents(&peers("our-copy")), written, "our clone");
    assert_eq!(contents(&ours("their-copy")), written, "the peer's clone");

    trees::write_in_pieces(&ours("by-us"));
    trees::write_in_pieces(&peers("by-them"));
    run(juicefs(), &["compact", &peers("by-us")]);
    volume.carafe(&["compact"], &["/by-them"]);
    for name in ["by-us", "by-them"] {
        for path in [ours(name), peers(name)] {
            trees::check_pieces(&path);
        }
    }

    each_restores_the_others(volume, theirs, &written);
}

/// How long the peer's mount may keep changes of directories' statistics. It writes them
/// for removed directories, too, and again counts off what a restore has put there since;
/// nothing shows when it has.
const PEER_KEEPS: Duration = Duration::from_millis(2500);

/// The peer's restore does not count what it puts below a quota: what the trees left in
/// the trash is ours to restore, and the peer finds the copies alone.
fn each_restores_the_others(volume: &Volume, theirs: &PeerMount, written: &str) {
    let peers = |name: &str| format!("{}/{name}", theirs.0);
    let remove_both = || {
        volume.carafe(&["rmr"], &["/their-copy"]);
        run(juicefs(), &["rmr", &peers("our-copy")]);
        std::thread::sleep(PEER_KEEPS);
        hours(volume)
    };
    let is_back = |path: String| wait_until(&path, || std::fs::exists(&path).unwrap());
    let removed = remove_both();
    let hours: Vec<&str> = removed.iter().map(String::as_str).collect();
    volume.carafe(&["restore", "--put-back"], &hours);
    is_back(peers("our-copy/b/small-1"));
    assert_eq!(contents(&peers("our-copy")), written, "restored by us");
    volume.carafe(&["fsck"], &ALL);
    let removed = remove_both();
    let hours: Vec<&str> = removed.iter().map(String::as_str).collect();
    let (done, said) = peer(volume, &["restore", "--put-back"], &hours);
    assert!(done, "{said}");
    let back = volume.path("their-copy");
    is_back(format!("{back}/b/small-1"));
    assert_eq!(contents(&back), written, "restored by the peer");
    // Its restore counts in a directory while it still puts files there, and some twice.
    volume.carafe(&["fsck", "--repair"], &ALL);
}

/// The trash's directories.
fn hours(volume: &Volume) -> Vec<String> {
    let listed = shell(&format!("ls {}", volume.path(".trash")));
    listed.split_whitespace().map(str::to_owned).collect()
}

/// All directories, for `fsck`.
const ALL: [&str; 3] = ["--path", "/", "--recursive"];

/// What either has to check a volume with finds nothing.
fn all_is_clean(volume: &Volume) {
    volume.carafe(&["fsck"], &[]);
    volume.carafe(&["fsck"], &ALL);
    let (clean, said) = peer(volume, &["fsck"], &[]);
    assert!(clean && !warns(&said), "{said}");
    let (clean, said) = peer(volume, &["fsck"], &ALL);
    assert!(clean && !warns(&said), "{said}");
    for path in ["/ours", "/theirs"] {
        volume.carafe(&["quota", "check"], &["--path", path, "--strict"]);
        let (clean, said) = peer(volume, &["quota", "check"], &["--path", path, "--strict"]);
        assert!(clean && said.contains("is consistent"), "{said}");
    }
    volume.age_objects();
    let said = volume.carafe(&["gc"], &[]);
    assert!(said.contains(" 0 leaked"), "{said}");
    let (clean, said) = peer(volume, &["gc"], &[]);
    assert!(clean && said.contains(" 0 leaked"), "{said}");
}
