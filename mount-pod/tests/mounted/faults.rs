//! The engine's server hangs or is killed under a load, and clients are killed: every
//! wait is bounded, no byte is wrong, nothing acknowledged is lost, nothing leaks.
//!
//! `CARAFE_OUTAGE_SECONDS` says how long an outage is: longer than half a minute,
//! calls fail, and the load tries again. `CARAFE_KILLS` says how often a client is
//! killed.

use std::time::Duration;

use carafe_testkit::juicefs;

use crate::{
    fixture::{Fault, Pair, Volume, run},
    load::{Done, Load},
};

/// How long the client tries what the engine does not answer, and something for the
/// way there and back on a busy machine.
const BOUND: Duration = Duration::from_secs(30 + 10);
/// An outage that no application may notice but by its length.
const SHORT: Duration = Duration::from_secs(25);

fn setting(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().unwrap())
}

#[test]
fn a_database_that_hangs_is_waited_for_on_redis() {
    outage(Volume::mounted_on_safe_redis(), Fault::Hang);
}

#[test]
fn a_database_that_hangs_is_waited_for_on_postgres() {
    outage(Volume::mounted_on_own_postgres(), Fault::Hang);
}

#[test]
fn a_database_that_stops_is_waited_for_on_redis() {
    outage(Volume::mounted_on_safe_redis(), Fault::Stop);
}

#[test]
fn a_database_that_stops_is_waited_for_on_postgres() {
    outage(Volume::mounted_on_own_postgres(), Fault::Stop);
}

/// The server is away for a while, and again for moments.
fn outage(mut volume: Volume, fault: Fault) {
    let long = Duration::from_secs(setting("CARAFE_OUTAGE_SECONDS", 3));
    let other = volume.second_mount();
    let mounts = [volume.path(""), other];
    let load = Load::start(&mounts, "load", long > SHORT);
    for time in [long, Duration::ZERO, Duration::from_millis(200)] {
        load.advances(BOUND);
        volume.endure(fault, time);
    }
    load.advances(BOUND);
    let done = load.finish();
    assert!(done.failures.is_empty(), "{fault:?}: {:?}", done.failures);
    if long <= SHORT {
        assert!(
            done.longest < long + Duration::from_secs(10),
            "{:?}",
            done.longest
        );
    }
    assert!(done.longest < BOUND, "{fault:?}: {:?}", done.longest);
    assert!(done.compared > 0, "readers had something to compare");
    settled(&mut volume, &done, "load");
    nothing_leaks(&volume);
}

/// What the load left is right for the writing client, for a new one, and for `fsck`.
fn settled(volume: &mut Volume, done: &Done, below: &str) {
    done.verify(&volume.path(below));
    volume.unmount();
    volume.unmount();
    volume.mount(&[]);
    done.verify(&volume.path(below));
    volume.unmount();
    clean(volume);
}

/// Both find every block, and directories that agree with their entries.
fn clean(volume: &Volume) {
    volume.carafe(&["fsck"], &[]);
    volume.carafe(&["fsck"], &["--path", "/", "-r"]);
    run(juicefs(), &["fsck", volume.url()]);
    run(juicefs(), &["fsck", volume.url(), "--path", "/", "-r"]);
}

/// Neither finds an object that belongs to nobody.
fn nothing_leaks(volume: &Volume) {
    volume.age_objects();
    let ours = volume.carafe(&["gc"], &[]);
    assert!(ours.contains(" 0 leaked"), "{ours}");
    let theirs = std::process::Command::new(juicefs())
        .args(["gc", volume.url()])
        .output()
        .unwrap();
    let theirs = String::from_utf8_lossy(&theirs.stderr).into_owned();
    assert!(
        theirs.contains(" 0 leaked") && theirs.contains(" 0 skipped"),
        "{theirs}"
    );
}

#[test]
fn a_killed_client_leaves_a_clean_volume_on_sqlite() {
    kills(Pair::SqliteFile);
}

#[test]
fn a_killed_client_leaves_a_clean_volume_on_redis() {
    kills(Pair::RedisS3);
}

/// Kills a client at random moments of a load, the worker alone and with its
/// supervisor in turn; the next one finds all that was acknowledged.
fn kills(pair: Pair) {
    let rounds = setting("CARAFE_KILLS", 3);
    let mut volume = Volume::formatted(pair);
    for round in 0..rounds {
        volume.mount(&[]);
        let below = format!("round-{round}");
        let load = Load::start(&[volume.path("")], &below, false);
        load.advances(BOUND);
        std::thread::sleep(Duration::from_micros(moment(round)));
        volume.kill(round % 2 == 0);
        let done = load.finish();
        volume.mount(&[]);
        done.verify(&volume.path(&below));
        volume.unmount();
        clean(&volume);
    }
    volume.age_objects();
    volume.carafe(&["gc", "--delete"], &[]);
    nothing_leaks(&volume);
    clean(&volume);
}

/// Up to a second, other in each round and each run, in microseconds.
fn moment(round: u64) -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    (now.subsec_nanos() as u64 ^ round).wrapping_mul(0x9E37_79B9_7F4A_7C15) % 1_000_000
}
