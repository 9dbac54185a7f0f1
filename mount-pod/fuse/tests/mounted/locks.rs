//! Locks that wait, and what ends the wait.

use std::{
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::{fs::MetadataExt, thread::JoinHandleExt},
    },
    process::{Child, Command},
    time::{Duration, Instant},
};

use carafe_types::Ino;
use carafe_vfs::{FileLock, LockKind, LockRange};

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
    assert!(
        !ends_within(&mut waiting, Duration::from_millis(300)),
        "it waits"
    );
    waiting.kill().unwrap();
    assert!(
        ends_within(&mut waiting, Duration::from_secs(2)),
        "the interrupt ends the wait"
    );
    let mut next = flock(&mount.path("lock"), &["true"]);
    drop(held);
    assert!(
        ends_within(&mut next, Duration::from_secs(5)),
        "closing the file frees the lock"
    );
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
    let mut waiting: Vec<_> = (0..80)
        .map(|_| flock(&mount.path("lock"), &["true"]))
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    fs::write(mount.path("other"), "served").unwrap();
    assert_eq!(fs::read_to_string(mount.path("other")).unwrap(), "served");
    drop(held);
    for child in &mut waiting {
        assert!(
            ends_within(child, Duration::from_secs(30)),
            "each gets its turn"
        );
    }
}

/// A signal that only interrupts.
fn interruptible() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    // SAFETY: all zeros is a valid sigaction without flags (no SA_RESTART).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing, which is safe in a signal handler.
    let set = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

/// `fcntl(F_SETLKW)` for the whole file.
fn wait_for_lock(file: &File) -> std::io::Result<()> {
    // SAFETY: all zeros is a valid flock.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    // SAFETY: the descriptor is open and the structure lives through the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLKW, &raw const lock) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_lock_of_another_client() {
    let volume = Volume::new();
    let mount = volume.mounted();
    fs::write(mount.path("lock"), "").unwrap();
    let file = File::options()
        .write(true)
        .open(mount.path("lock"))
        .unwrap();
    let (other, ino) = (volume.client(), Ino(file.metadata().unwrap().ino()));
    let lock = |kind| FileLock {
        kind,
        range: LockRange {
            start: 0,
            end: i64::MAX as u64,
        },
        pid: 1,
    };
    let set = |kind| {
        volume
            .runtime
            .block_on(other.setlk(&other.call(0, 0, 1), ino, 7, lock(kind)))
    };
    set(LockKind::Write).unwrap();
    interruptible();
    let waiting = std::thread::spawn(move || (wait_for_lock(&file), file));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished(), "it waits");
    // SAFETY: the thread has not been joined.
    let sent = unsafe { libc::pthread_kill(waiting.as_pthread_t(), libc::SIGUSR1) };
    assert_eq!(sent, 0);
    let (ended, file) = waiting.join().unwrap();
    assert_eq!(ended.unwrap_err().raw_os_error(), Some(libc::EINTR));
    set(LockKind::Unlock).unwrap();
    wait_for_lock(&file).unwrap();
}
