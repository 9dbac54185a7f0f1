//! A directory with a million entries, and names at their limits.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    process::Command,
};

use crate::fixture::{Pair, Volume, run, shell};

const ENTRIES: usize = 1_000_000;
/// What a listing may add to the client's memory.
const ROOM: u64 = 160 << 20;

#[test]
fn a_million_entries_are_listed_in_bounded_memory_on_sqlite() {
    million(Pair::SqliteFile);
}

#[test]
fn a_million_entries_are_listed_in_bounded_memory_on_redis() {
    million(Pair::RedisS3);
}

fn million(pair: Pair) {
    let mut volume = Volume::mounted(pair);
    fs::create_dir(volume.path("big")).unwrap();
    let ino = std::os::unix::fs::MetadataExt::ino(&fs::metadata(volume.path("big")).unwrap());
    volume.unmount();
    volume.fill_directory(ino, ENTRIES);
    volume.mount(&[]);
    let before = volume.client_memory();
    let mut seen = HashSet::with_capacity(ENTRIES);
    for entry in fs::read_dir(volume.path("big")).unwrap() {
        let name = entry.unwrap().file_name();
        let number: u32 = name
            .to_str()
            .unwrap()
            .strip_prefix("entry-")
            .unwrap()
            .parse()
            .unwrap();
        assert!(seen.insert(number), "entry {number} is shown twice");
    }
    assert_eq!(seen.len(), ENTRIES, "{pair:?}");
    let grown = volume.client_memory().saturating_sub(before);
    assert!(grown < ROOM, "{pair:?}: a listing took {} MiB", grown >> 20);
    assert!(fs::symlink_metadata(volume.path("big/entry-999999")).is_ok());
}

#[test]
fn names_are_any_255_bytes_and_paths_are_deep() {
    for pair in Pair::ALL {
        let volume = Volume::mounted(pair);
        let long = |byte: u8| OsString::from_vec(vec![byte; 255]);
        let names = [
            long(b'x'),
            long(0xff),
            long(b'\n'),
            "a\u{301}".into(),
            "\u{e1}".into(),
            OsString::from_vec(vec![1, 2, 0xc3]),
            OsString::from_vec((1..=255u8).filter(|byte| *byte != b'/').collect()),
            " ".into(),
            "...".into(),
        ];
        for name in &names {
            fs::write(
                std::path::Path::new(&volume.path("")).join(name),
                name.as_bytes(),
            )
            .unwrap();
        }
        let shown: HashSet<_> = fs::read_dir(volume.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(shown, names.iter().cloned().collect(), "{pair:?}");
        for name in &names {
            assert_eq!(
                fs::read(std::path::Path::new(&volume.path("")).join(name)).unwrap(),
                name.as_bytes()
            );
        }
        let error = fs::write(
            std::path::Path::new(&volume.path("")).join("y".repeat(256)),
            b"",
        )
        .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(36), "{pair:?}: ENAMETOOLONG");
        let deep = "for n in $(seq 300); do mkdir 0123456789 && cd 0123456789; done && echo bottom > f && cat f";
        let at = volume.path("");
        let read = Command::new("sh")
            .args(["-ec", deep])
            .current_dir(&at)
            .output()
            .unwrap();
        assert_eq!(
            read.stdout,
            b"bottom\n",
            "{pair:?}: {}",
            String::from_utf8_lossy(&read.stderr)
        );
        run("rm", &["-rf", &volume.path("0123456789")]);
    }
}

/// Entries that come and go beside a listing never hide or double those that stay.
#[test]
fn a_listing_is_steady_while_the_directory_changes() {
    let volume = Volume::mounted(Pair::SqliteFile);
    let at = volume.path("d");
    shell(&format!(
        "mkdir {at} && cd {at} && seq -f stay-%g 3000 | xargs touch"
    ));
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            for round in 0..40 {
                shell(&format!(
                    "cd {at} && seq -f come-{round}-%g 50 | xargs touch && rm -f come-*"
                ));
            }
        });
        while !changes.is_finished() {
            let mut seen = HashSet::new();
            for entry in fs::read_dir(&at).unwrap() {
                let name = entry.unwrap().file_name();
                let shown = name.to_string_lossy().into_owned();
                assert!(seen.insert(name), "{shown} is shown twice");
            }
            let stay = seen
                .iter()
                .filter(|name| name.as_bytes().starts_with(b"stay-"));
            assert_eq!(stay.count(), 3000);
        }
    });
}
