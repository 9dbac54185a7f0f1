//! A session ends and another goes on, with the device and the region only.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use carafe_state::JournalRecord;

use crate::fixture::Volume;

#[test]
fn a_successor_serves_open_files_and_what_was_asked_meanwhile() {
    let volume = Volume::new();
    let mut mount = volume.mounted();
    let mut file = File::options().create_new(true).read(true).write(true).open(mount.path("file")).unwrap();
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
    assert_eq!(&text, b"before and after", "the handle and its unwritten bytes live on");
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
    let slots = mount.region().slots();
    let mut slot = slots.take_for_read(0, Duration::from_secs(1)).unwrap();
    let len = loop {
        match rustix::io::read(mount.device(), &mut *slot.buffer()) {
            Ok(len) => break len,
            Err(error) => assert_eq!(error, rustix::io::Errno::AGAIN),
        }
        thread::sleep(Duration::from_millis(5));
    };
    let (request, spare) = slots.accept(slot, len);
    request.begin(JournalRecord::default());
    drop((request, spare));
    mount.resume();
    asking.join().unwrap().unwrap();
    assert!(fs::metadata(mount.path("name")).unwrap().is_dir());
}
