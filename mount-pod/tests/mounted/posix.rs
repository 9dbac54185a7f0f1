//! POSIX as other suites see it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use crate::fixture::{Pair, Volume};

/// What FUSE leaves unsaid: see pjdfstest.toml.
const NO_LIMIT: &str = "link::link_count_max";

#[test]
fn pjdfstest_finds_posix_on_sqlite() {
    pjdfstest(Pair::SqliteFile);
}

#[test]
fn pjdfstest_finds_posix_on_redis() {
    pjdfstest(Pair::RedisS3);
}

/// Twice: those that mount it read-only want it for themselves, since others leave
/// files open until the program ends. Without a trash, where a removed file keeps the
/// link that the trash has.
fn pjdfstest(pair: Pair) {
    let mut volume = Volume::formatted_with(pair, &["--trash-days", "0"]);
    volume.mount(&["-o", "enable-xattr"]);
    let skipped = run_pjdfstest(&volume, false, &[]);
    let unexpected: Vec<_> = skipped
        .iter()
        .filter(|name| !name.contains("::erofs_") && *name != NO_LIMIT)
        .collect();
    assert!(unexpected.is_empty(), "{pair:?}: skipped {unexpected:?}");
    let skipped = run_pjdfstest(&volume, true, &["erofs"]);
    assert!(skipped.is_empty(), "{pair:?}: skipped {skipped:?}");
}

/// Runs it; the names of the tests that it skipped.
fn run_pjdfstest(volume: &Volume, remount: bool, patterns: &[&str]) -> Vec<String> {
    let config = volume.scratch("pjdfstest.toml");
    let text = include_str!("pjdfstest.toml").replace("REMOUNT", &remount.to_string());
    fs::write(&config, text).unwrap();
    let elsewhere = volume.scratch("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let output = Command::new(carafe_testkit::tool("pjdfstest"))
        .args(["-c", &config, "-p", &volume.path(""), "-s", &elsewhere])
        .args(patterns)
        .env("PATH", remounting_path(volume))
        .output()
        .unwrap();
    let Output { status, stdout, .. } = output;
    let said = String::from_utf8_lossy(&stdout);
    assert!(status.success(), "{status}\n{said}");
    let name = |line: &str| {
        line.strip_suffix("skipped")
            .map(|name| name.trim().to_owned())
    };
    said.lines().filter_map(name).collect()
}

/// A PATH in which mount(8) does not look for a helper of the file system's type: a
/// remount is the kernel's alone.
fn remounting_path(volume: &Volume) -> String {
    let directory = volume.scratch("bin");
    fs::create_dir_all(&directory).unwrap();
    let program = format!("{directory}/mount");
    fs::write(&program, "#!/bin/sh\nexec /usr/bin/mount -i \"$@\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{directory}:{}", std::env::var("PATH").unwrap())
}
