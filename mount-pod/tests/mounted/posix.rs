//! POSIX as other suites see it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use rustix::{
    fs::{CWD, FallocateFlags, Mode, OFlags, RenameFlags, fallocate, open, renameat_with},
    io::Errno,
};

use crate::fixture::{Pair, Volume, shell};

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

#[test]
#[ignore = "in make test-full"]
fn pjdfstest_finds_posix_on_postgres() {
    pjdfstest(Pair::PostgresFile);
}

#[test]
#[ignore = "in make test-full"]
fn pjdfstest_finds_posix_on_mariadb() {
    pjdfstest(Pair::MariaDbFile);
}

#[test]
#[ignore = "in make test-full"]
fn pjdfstest_finds_posix_on_etcd() {
    pjdfstest(Pair::EtcdFile);
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

/// What the format or FUSE cannot do is refused in the words that programs know.
#[test]
fn what_is_not_there_is_refused_by_the_right_name() {
    let volume = Volume::mounted(Pair::SqliteFile);
    fs::write(volume.path("f"), [7; 8192]).unwrap();
    let nameless = open(volume.path(""), OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR);
    assert_eq!(nameless.unwrap_err(), Errno::OPNOTSUPP, "O_TMPFILE");
    let (f, g) = (volume.path("f"), volume.path("g"));
    let whiteout = renameat_with(CWD, &f, CWD, &g, RenameFlags::WHITEOUT);
    assert_eq!(whiteout, Err(Errno::OPNOTSUPP), "as the peer");
    let file = fs::OpenOptions::new().write(true).open(&f).unwrap();
    for mode in [
        FallocateFlags::COLLAPSE_RANGE,
        FallocateFlags::INSERT_RANGE,
        FallocateFlags::UNSHARE_RANGE,
    ] {
        assert_eq!(fallocate(&file, mode, 0, 4096), Err(Errno::OPNOTSUPP));
    }
    assert_eq!(fs::read(&f).unwrap(), [7; 8192], "nothing was changed");
}

/// The kernel does not tell a file system all groups of a caller, and has checked them.
#[test]
fn a_supplementary_group_may_be_given_its_identity() {
    let volume = Volume::mounted(Pair::SqliteFile);
    shell(&format!(
        "cd {} && chmod 755 . && : > f && chown 8:77 f",
        volume.path("")
    ));
    let chmod = |group: &str| {
        let who = ["--reuid", "8", "--regid", "8", "--groups", group];
        let mut command = Command::new("setpriv");
        command.args(who).args(["chmod", "2755", "f"]);
        let done = command.current_dir(volume.path("")).status().unwrap();
        assert!(done.success());
        let mode = fs::metadata(volume.path("f")).unwrap().permissions().mode();
        mode & 0o7777
    };
    assert_eq!(chmod("77"), 0o2755, "a member");
    assert_eq!(chmod("78"), 0o755, "no member");
}
