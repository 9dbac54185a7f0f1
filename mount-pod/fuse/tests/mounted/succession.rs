//! A session ends and another goes on, with the device and the region only.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    process::Command,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use carafe_state::{JournalRecord, Request};
use carafe_types::{Ino, SessionId};
use carafe_vfs::{Call, OpKey, OpenFlags};

use crate::fixture::{Mounted, Volume};

/// Reads the next request as a predecessor would that is about to die.
fn read_request(mount: &Mounted<'_>) -> Request {
    let slots = mount.region().slots();
    let mut slot = slots.take_for_read(0, Duration::from_secs(1)).unwrap();
    let len = loop {
        match rustix::io::read(mount.device(), &mut *slot.buffer()) {
            Ok(len) => break len,
            Err(error) => assert_eq!(error, rustix::io::Errno::AGAIN),
        }
        thread::sleep(Duration::from_millis(5));
    };
    slots.accept(slot, len).0
}

/// The operation and the unique of a request.
fn head(request: &Request) -> (u32, u64) {
    let bytes = request.bytes();
    let opcode = u32::from_ne_bytes(bytes[4..8].try_into().unwrap());
    (opcode, u64::from_ne_bytes(bytes[8..16].try_into().unwrap()))
}

/// Answers a request with an errno.
fn refuse(mount: &Mounted<'_>, request: &Request, errno: i32) {
    let mut reply = [16u32.to_ne_bytes(), (-errno as u32).to_ne_bytes()].concat();
    reply.extend(head(request).1.to_ne_bytes());
    rustix::io::write(mount.device(), &reply).unwrap();
    request.answered();
}

#[test]
fn a_successor_serves_open_files_and_what_was_asked_meanwhile() {
    let volume = Volume::new();
    let mut mount = volume.mounted();
    let mut file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(mount.path("file"))
        .unwrap();
    file.write_all(b"before").unwrap();
    let agreed = mount.region().init().unwrap();
    mount.freeze();
    let (done, answered) = channel();
    let path = mount.path("meanwhile");
    let asking = thread::spawn(move || {
        let made = fs::write(path, "text");
        done.send(()).unwrap();
        made
    });
    let early = answered.recv_timeout(Duration::from_millis(300));
    assert!(early.is_err(), "nobody answers: the kernel lets it wait");
    mount.resume();
    answered.recv_timeout(Duration::from_secs(10)).unwrap();
    asking.join().unwrap().unwrap();
    assert_eq!(mount.region().init().unwrap(), agreed, "no second INIT");
    file.write_all(b" and after").unwrap();
    let mut text = [0; 16];
    file.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(
        &text, b"before and after",
        "the handle and its unwritten bytes live on"
    );
    assert_eq!(fs::read_to_string(mount.path("meanwhile")).unwrap(), "text");
}

#[test]
fn a_request_that_was_read_and_not_answered_is_answered_by_the_successor() {
    let volume = Volume::new();
    let mut mount = volume.mounted();
    fs::write(mount.path("file"), "text").unwrap();
    mount.freeze();
    let path = mount.path("name");
    let asking = thread::spawn(move || fs::create_dir(path));
    // A predecessor that dies right after it has read a request, into its slot.
    let request = read_request(&mount);
    request.begin(JournalRecord::default());
    drop(request);
    mount.resume();
    asking.join().unwrap().unwrap();
    assert!(fs::metadata(mount.path("name")).unwrap().is_dir());
}

#[test]
fn what_was_done_and_not_answered_is_not_done_again() {
    const LOOKUP: u32 = 1;
    const CREATE: u32 = 35;
    let volume = Volume::new();
    let mut mount = volume.mounted();
    // The kernel knows the root now, and asks for nothing but the name.
    fs::metadata(mount.path("")).unwrap();
    mount.freeze();
    let path = mount.path("once");
    let asking = thread::spawn(move || File::options().write(true).create_new(true).open(path));
    let request = loop {
        let request = read_request(&mount);
        match head(&request).0 {
            LOOKUP => refuse(&mount, &request, libc::ENOENT),
            CREATE => break request,
            _ => {}
        }
    };
    let session = SessionId(mount.region().session());
    let key = OpKey {
        session,
        slot: request.slot(),
        sequence: request.sequence(),
    };
    let doer = volume.client();
    let call = Call {
        key: Some(key),
        ..doer.call(0, 0, 1)
    };
    let exclusive = OpenFlags((libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL) as u32);
    let made = volume
        .runtime
        .block_on(doer.create(&call, Ino::ROOT, b"once", 0o644, 0, exclusive))
        .unwrap();
    drop(request);
    mount.resume();
    let file = asking.join().unwrap().unwrap();
    let ino = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
    assert_eq!(
        ino, made.entry.ino.0,
        "an exclusive open is answered with the file that it made"
    );
}

#[test]
fn a_lock_is_waited_for_across_a_handover_that_does_not_wait_for_it() {
    let volume = Volume::new();
    let mut mount = volume.mounted();
    fs::write(mount.path("lock"), "").unwrap();
    let held = File::open(mount.path("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut waiting = Command::new("flock")
        .arg(mount.path("lock"))
        .arg("true")
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    mount.freeze();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "nobody waits for the lock"
    );
    mount.resume();
    thread::sleep(Duration::from_millis(300));
    assert!(
        waiting.try_wait().unwrap().is_none(),
        "the successor waits on"
    );
    drop(held);
    assert!(waiting.wait().unwrap().success());
}

#[test]
fn a_successor_agrees_where_its_predecessor_died_before_that() {
    let volume = Volume::new();
    let mut mount = volume.unserved();
    drop(read_request(&mount));
    assert!(mount.region().init().is_none());
    mount.resume();
    fs::write(mount.path("file"), "text").unwrap();
    assert_eq!(fs::read_to_string(mount.path("file")).unwrap(), "text");
}
