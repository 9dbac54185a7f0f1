//! Mount options.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    time::Duration,
};

use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};

use crate::fixture::{Pair, Volume, shell};

#[test]
fn a_read_only_mount_reads_and_refuses_to_write() {
    let mut volume = Volume::mounted(Pair::SqliteFile);
    fs::write(volume.path("file"), b"bytes").unwrap();
    volume.unmount();
    volume.mount(&["--read-only"]);
    assert_eq!(fs::read(volume.path("file")).unwrap(), b"bytes");
    let refused = fs::write(volume.path("other"), b"bytes").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn a_subdirectory_is_a_world_of_its_own() {
    for pair in Pair::ALL {
        let mut volume = Volume::mounted(pair);
        fs::create_dir_all(volume.path("tenants/one")).unwrap();
        fs::write(volume.path("tenants/one/mine"), b"1").unwrap();
        fs::write(volume.path("secret"), b"2").unwrap();
        volume.unmount();
        volume.mount(&["--subdir", "tenants/one"]);
        let seen: Vec<_> = fs::read_dir(volume.path(""))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(seen, ["mine"], "{pair:?}: the root is the directory");
        assert!(
            fs::metadata(volume.path("..")).is_ok(),
            "{pair:?}: `..` of the mount is the host's"
        );
        for hidden in [".trash", ".control", ".carafe-deleted"] {
            let found = fs::symlink_metadata(volume.path(hidden));
            assert!(found.is_err(), "{pair:?}: {hidden} is the volume's");
        }
        let numbers = |name: &str| fs::metadata(volume.path(name)).unwrap().ino();
        assert_eq!(numbers("."), 1, "{pair:?}: and its number the root's");
        let listed = shell(&format!("ls -ai {}", volume.path("")));
        assert!(listed.contains("1 .\n"), "{pair:?}: {listed}");
        assert!(
            !std::path::Path::new(&volume.path("../secret")).exists(),
            "{pair:?}: and not the volume's"
        );
    }
}

#[test]
fn a_disk_cache_answers_when_the_store_is_gone() {
    let mut volume = Volume::mounted(Pair::SqliteFile);
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    fs::write(volume.path("cached"), &data).unwrap();
    volume.unmount();
    let cache = volume.scratch("cache");
    volume.mount(&["--cache-dir", &cache]);
    assert_eq!(
        fs::read(volume.path("cached")).unwrap(),
        data,
        "the first read fills the cache"
    );
    volume.unmount();
    volume.hide_store();
    volume.mount(&["--cache-dir", &cache]);
    assert_eq!(
        fs::read(volume.path("cached")).unwrap(),
        data,
        "a new client reads it without the store"
    );
}

#[test]
fn extended_attributes_are_there_when_asked_for() {
    let mut volume = Volume::mounted(Pair::SqliteFile);
    let set = |volume: &Volume, name: &str| {
        let line = format!("setfattr -n {name} -v 1 {} 2>/dev/null", volume.path("f"));
        std::process::Command::new("sh")
            .args(["-c", &line])
            .status()
            .unwrap()
            .success()
    };
    fs::write(volume.path("f"), b"bytes").unwrap();
    assert!(!set(&volume, "user.a"), "none without the option");
    volume.unmount();
    volume.mount(&["-o", "enable-xattr"]);
    assert!(set(&volume, "user.a") && set(&volume, "trusted.a") && set(&volume, "security.a"));
    assert!(
        !set(&volume, "security.selinux"),
        "labels have an option of their own"
    );
    let (file, long) = (volume.path("f"), format!("user.{}", "n".repeat(250)));
    let big: Vec<u8> = (0..65_536u32).map(|n| (n % 251) as u8).collect();
    setxattr(&file, "user.big", &big, XattrFlags::CREATE).unwrap();
    setxattr(&file, &long, b"", XattrFlags::CREATE).unwrap();
    let mut room = vec![0; 70_000];
    let len = getxattr(&file, "user.big", &mut room).unwrap();
    assert_eq!(room[..len], big, "64 KiB are the most");
    let len = listxattr(&file, &mut room).unwrap();
    let names = room[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let mut names: Vec<_> = names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["security.a", "trusted.a", "user.a", "user.big", &long]
    );
    volume.unmount();
    volume.mount(&["-o", "enable-selinux,enable-cap"]);
    let label = shell(&format!(
        "cd {} && setfattr -n security.selinux -v a:b:c:s0 f && getfattr --only-values -n security.selinux f",
        volume.path("")
    ));
    assert_eq!(label, "a:b:c:s0");
}

#[test]
fn reads_are_noted_as_the_mode_says() {
    let mut volume = Volume::mounted(Pair::SqliteFile);
    fs::write(volume.path("f"), b"bytes").unwrap();
    for (mode, first, second) in [
        ("noatime", false, false),
        ("relatime", true, false),
        ("strictatime", true, true),
    ] {
        volume.unmount();
        volume.mount(&["-o", &format!("atime-mode={mode},attr-cache=0")]);
        shell(&format!(
            "touch -d '2001-01-01' {0} && touch -a -d '2001-01-01' {0}",
            volume.path("f")
        ));
        let read = || {
            let before = fs::metadata(volume.path("f")).unwrap();
            std::thread::sleep(Duration::from_millis(1100)); // a second is strictatime's grain
            drop_pages(&volume.path("f"));
            fs::read(volume.path("f")).unwrap();
            let noted = || {
                let after = fs::metadata(volume.path("f")).unwrap();
                assert_eq!(
                    (after.mtime(), after.ctime_nsec()),
                    (before.mtime(), before.ctime_nsec())
                );
                after.atime_nsec() != before.atime_nsec() || after.atime() != before.atime()
            };
            (0..20).any(|_| {
                noted() || {
                    std::thread::sleep(Duration::from_millis(10));
                    false
                }
            })
        };
        assert_eq!([read(), read()], [first, second], "{mode}");
    }
}

/// The kernel answers reads of pages that it has, and nobody hears of them.
fn drop_pages(path: &str) {
    run_quietly(&format!("dd if={path} iflag=nocache count=0"));
}

fn run_quietly(line: &str) {
    shell(&format!("{line} 2>/dev/null"));
}

#[test]
fn caches_are_trusted_as_long_as_the_options_say() {
    let mut volume = Volume::mounted(Pair::SqliteFile);
    fs::write(volume.path("f"), b"old").unwrap();
    fs::write(volume.path("g"), b"old").unwrap();
    let other = volume.second_mount();
    let long = [
        "attr-cache",
        "entry-cache",
        "dir-entry-cache",
        "negative-entry-cache",
        "open-cache",
    ];
    volume.mount(&["-o", &long.map(|option| format!("{option}=600")).join(",")]);
    let there = |name: &str| std::path::Path::new(&volume.path(name)).exists();
    assert_eq!(first_bytes(&volume.path("f")), b"old");
    assert_eq!(fs::metadata(volume.path("g")).unwrap().len(), 3);
    assert!(!there("new"));
    for name in ["f", "g", "new"] {
        fs::write(format!("{other}/{name}"), b"newer").unwrap();
    }
    assert_eq!(
        fs::metadata(volume.path("g")).unwrap().len(),
        3,
        "attributes are kept"
    );
    assert!(!there("new"), "and that a name is not there");
    assert_eq!(
        first_bytes(&volume.path("f")),
        b"old",
        "and what an open asks"
    );
    fs::write(volume.path("f"), b"mine").unwrap();
    assert_eq!(
        fs::read(volume.path("f")).unwrap(),
        b"mine",
        "but not against changes of its own"
    );
    fs::write(volume.path("made"), b"").unwrap();
    assert!(there("made"));
}

/// What a read gives, without the stat of `fs::read`: that asks for the last access anew.
fn first_bytes(path: &str) -> Vec<u8> {
    let mut bytes = vec![0; 10];
    let len = fs::File::open(path).unwrap().read(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

#[test]
fn a_umask_of_the_mount_is_added() {
    let mut volume = Volume::formatted(Pair::SqliteFile);
    volume.mount(&["-o", "umask=027"]);
    shell(&format!(
        "cd {} && umask 0 && : > f && mkdir d && mkfifo p",
        volume.path("")
    ));
    let mode = |name: &str| fs::metadata(volume.path(name)).unwrap().mode() & 0o777;
    assert_eq!([mode("f"), mode("d"), mode("p")], [0o640, 0o750, 0o640]);
}

#[test]
fn listings_that_the_kernel_keeps_follow_the_directory() {
    let mut volume = Volume::mounted(Pair::SqliteFile);
    let other = volume.second_mount();
    volume.mount(&["-o", "readdir-cache,attr-cache=0"]);
    let names = || {
        let entries = fs::read_dir(volume.path("")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::write(volume.path("a"), b"").unwrap();
    assert_eq!([names(), names()], [["a"], ["a"]]);
    fs::write(format!("{other}/b"), b"").unwrap();
    assert_eq!(names(), ["a", "b"]);
    fs::remove_file(volume.path("a")).unwrap();
    assert_eq!(names(), ["b"]);
}
