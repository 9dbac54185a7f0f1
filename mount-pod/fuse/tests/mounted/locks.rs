//! Locks that wait, and what ends the wait.

use std::{
    fs::{self, File},
    process::{Child, Command},
    time::{Duration, Instant},
};

use crate::fixture::Volume;

fn flock(path: &std::path::Path, then: &[&str]) -> Child {
    Command::new("flock").arg(path).args(then).spawn().unwrap()
}

fn ends_within(child: &mut Child, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn a_process_that_waits_for_a_lock_can_be_killed() {
    let volume = Volume::new();
    let mount = volume.mounted();
    fs::write(mount.path("lock"), "").unwrap();
    let held = File::open(mount.path("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut waiting = flock(&mount.path("lock"), &["true"]);
    assert!(!ends_within(&mut waiting, Duration::from_millis(300)), "it waits");
    waiting.kill().unwrap();
    assert!(ends_within(&mut waiting, Duration::from_secs(2)), "the interrupt ends the wait");
    let mut next = flock(&mount.path("lock"), &["true"]);
    drop(held);
    assert!(ends_within(&mut next, Duration::from_secs(5)), "closing the file frees the lock");
    assert!(next.wait().unwrap().success());
}

#[test]
fn waiting_locks_do_not_keep_others_from_being_served() {
    let volume = Volume::new();
    let mount = volume.mounted();
    fs::write(mount.path("lock"), "").unwrap();
    let held = File::open(mount.path("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // More than there are threads and big slots.
    let mut waiting: Vec<_> = (0..80).map(|_| flock(&mount.path("lock"), &["true"])).collect();
    std::thread::sleep(Duration::from_millis(500));
    fs::write(mount.path("other"), "served").unwrap();
    assert_eq!(fs::read_to_string(mount.path("other")).unwrap(), "served");
    drop(held);
    for child in &mut waiting {
        assert!(ends_within(child, Duration::from_secs(30)), "each gets its turn");
    }
}
