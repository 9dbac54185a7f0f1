//! Mount options.

use std::{fs, io};

use crate::fixture::{Pair, Volume};

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
