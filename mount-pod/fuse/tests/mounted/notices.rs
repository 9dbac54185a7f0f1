//! Notifications while the kernel writes back, reads and truncates the same file. Each
//! of these holds locks in the kernel that a notification may want; none may wait for
//! another for ever.
//!
//! The file is mapped by a **mapper**, a process of its own: a fault of a mapping waits
//! for its page with the process's memory map locked, so a process that mapped what it
//! serves itself would wait for itself.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use carafe_types::Ino;
use carafe_vfs::{Invalidator, OpenFlags, WriteFlags};
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

use crate::fixture::Volume;

/// The part of the file that is mapped, and that truncation leaves alone.
const MAPPED: usize = 1 << 20;
const LONGEST: u64 = 4 << 20;

/// Writes to the file through a shared mapping until `stop`.
fn write_mapped(file: &File, stop: &AtomicBool) {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base = unsafe {
        mmap(
            std::ptr::null_mut(),
            MAPPED,
            prot,
            MapFlags::SHARED,
            file,
            0,
        )
    }
    .unwrap();
    let mut round = 0usize;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let at = round.wrapping_mul(2_654_435_761) % MAPPED;
        // SAFETY: inside the mapping, which the file's length always covers.
        unsafe { base.cast::<u8>().add(at).write_volatile(round as u8) };
        if round.is_multiple_of(64) {
            // SAFETY: the range is the mapping.
            unsafe { msync(base, MAPPED, MsyncFlags::SYNC) }.unwrap();
        }
    }
    // SAFETY: nothing uses the mapping after this.
    unsafe { munmap(base, MAPPED) }.unwrap();
}

/// Names the file to the mapper.
const MAPPER_FILE: &str = "CARAFE_TEST_MAPPER_FILE";

#[test]
#[ignore = "the mapper: a part of another test, which starts it"]
fn mapper() {
    let Some(path) = std::env::var_os(MAPPER_FILE) else {
        return;
    };
    let file = File::options().read(true).write(true).open(path).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| write_mapped(&file, &stop));
        // Its end is the sign to stop, and comes also when the other test dies.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        stop.store(true, Ordering::Relaxed);
    });
}

fn start_mapper(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "notices::mapper", "--ignored", "--nocapture"])
        .env(MAPPER_FILE, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn truncate(file: &File, stop: &AtomicBool) {
    let mut len = MAPPED as u64;
    while !stop.load(Ordering::Relaxed) {
        len = (len * 7 + 4097) % (LONGEST - MAPPED as u64) + MAPPED as u64;
        file.set_len(len).unwrap();
        file.write_all_at(b"end", len).unwrap();
    }
}

fn read(file: &File, stop: &AtomicBool) {
    let mut buffer = vec![0; 128 << 10];
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        at = (at * 5 + 12_345) % LONGEST;
        // How much is there changes all the time.
        let _len = file.read_at(&mut buffer, at).unwrap();
    }
}

#[test]
fn nothing_waits_for_ever() {
    let volume = Volume::new();
    let mount = volume.mounted();
    fs::write(mount.path("file"), vec![0; LONGEST as usize]).unwrap();
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .open(mount.path("file"))
            .unwrap()
    };
    let ino = Ino(std::os::unix::fs::MetadataExt::ino(
        &open().metadata().unwrap(),
    ));
    let (cut, looked) = (open(), open());
    let mut mapper = start_mapper(&mount.path("file"));
    let other = volume.client();
    let stop = AtomicBool::new(false);
    let notifier = &mount.server().notifier;
    thread::scope(|scope| {
        scope.spawn(|| truncate(&cut, &stop));
        scope.spawn(|| read(&looked, &stop));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                notifier.inval_inode(ino, 0, 0);
                notifier.inval_entry(Ino::ROOT, b"file");
                notifier.inval_entry(Ino::ROOT, b"made");
                thread::sleep(Duration::from_micros(200));
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::write(mount.path("made"), "text").unwrap();
                fs::remove_file(mount.path("made")).unwrap();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                volume.runtime.block_on(touch(&other, ino));
                thread::sleep(Duration::from_millis(20));
            }
        });
        thread::sleep(Duration::from_secs(5));
        stop.store(true, Ordering::Relaxed);
    });
    drop(mapper.stdin.take());
    assert!(mapper.wait().unwrap().success());
}

/// Another client changes the file's first byte.
async fn touch(client: &carafe_vfs::Vfs, ino: Ino) {
    let call = client.call(0, 0, 1);
    let handle = client
        .open(&call, ino, OpenFlags::RDWR)
        .await
        .unwrap()
        .handle;
    client
        .write(&call, ino, handle, 0, b"x", WriteFlags::default())
        .await
        .unwrap();
    client.flush(&call, ino, handle, 1).await.unwrap();
    client.release(&call, ino, handle, None).await.unwrap();
}

#[test]
fn a_notice_makes_the_kernel_read_anew_what_another_client_wrote() {
    let volume = Volume::new();
    let mount = volume.mounted();
    fs::write(mount.path("file"), "a").unwrap();
    assert_eq!(fs::read_to_string(mount.path("file")).unwrap(), "a");
    let file = File::open(mount.path("file")).unwrap();
    let ino = Ino(std::os::unix::fs::MetadataExt::ino(
        &file.metadata().unwrap(),
    ));
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0).unwrap();
    volume.runtime.block_on(touch(&volume.client(), ino));
    mount.server().notifier.inval_inode(ino, 0, 0);
    let deadline = Instant::now() + Duration::from_secs(2);
    while byte != *b"x" && Instant::now() < deadline {
        file.read_exact_at(&mut byte, 0).unwrap();
    }
    assert_eq!(&byte, b"x", "also through a handle that was open before");
}
