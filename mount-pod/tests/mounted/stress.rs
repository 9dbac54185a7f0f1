//! Many programs at once, and suites that check what they read. `CARAFE_STRESS_SECONDS`
//! says how long each part takes; by default all of a test ends within a minute.

use crate::fixture::{Pair, Volume, run, shell};

/// stress-ng's stressors of class `filesystem`, but those of system calls that do not
/// reach a file system (eventfd, ioprio, procfs …) and of what FUSE lacks: binderfs,
/// fiemap, verity.
const STRESSORS: &str = "access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup \
    fallocate fanotify fcntl file-ioctl filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify io \
    iomix lease link locka lockf lockofd mknod open rename symlink sync-file touch utime xattr";
/// How many run at the same time.
const GROUP: usize = 9;

fn seconds(default: u32) -> u32 {
    let set = std::env::var("CARAFE_STRESS_SECONDS").ok();
    set.map_or(default, |text| text.parse().unwrap())
}

fn mounted(pair: Pair) -> Volume {
    let mut volume = Volume::formatted_with(pair, &["--trash-days", "0"]);
    volume.mount(&["-o", "enable-xattr"]);
    volume
}

#[test]
fn stress_ng_verifies_on_sqlite() {
    stress_ng(Pair::SqliteFile);
}

#[test]
fn stress_ng_verifies_on_redis() {
    stress_ng(Pair::RedisS3);
}

fn stress_ng(pair: Pair) {
    let volume = mounted(pair);
    let (at, timeout) = (volume.path(""), seconds(2).to_string());
    let stressors: Vec<_> = STRESSORS.split_whitespace().collect();
    for group in stressors.chunks(GROUP) {
        let mut arguments = vec![
            "--temp-path",
            &at,
            "--verify",
            "--timeout",
            &timeout,
            "--no-rand-seed",
        ];
        arguments.extend([
            "--hdd-bytes",
            "8m",
            "--iomix-bytes",
            "8m",
            "--fallocate-bytes",
            "8m",
        ]);
        arguments.extend(["--open-max", "1000", "--dentries", "500"]);
        let options: Vec<_> = group.iter().map(|name| format!("--{name}")).collect();
        for option in &options {
            arguments.extend([option.as_str(), "1"]);
        }
        let said = run("stress-ng", &arguments);
        assert!(!said.contains("skipping"), "{pair:?}: {said}");
    }
    let left = shell(&format!("ls -A {at}"));
    assert!(left.trim().is_empty(), "{pair:?}: {left}");
}

#[test]
fn dbench_runs_on_sqlite() {
    dbench(Pair::SqliteFile);
}

#[test]
fn dbench_runs_on_redis() {
    dbench(Pair::RedisS3);
}

/// The load of a file server's clients; it stops at the first answer that is another
/// than in its record.
fn dbench(pair: Pair) {
    let volume = mounted(pair);
    let (at, time) = (volume.path(""), seconds(4).to_string());
    let said = run(
        "dbench",
        &[
            "-D",
            &at,
            "-t",
            &time,
            "--skip-cleanup",
            "-c",
            "/usr/share/dbench/client.txt",
            "3",
        ],
    );
    assert!(
        said.contains("Throughput") && !said.contains("failed"),
        "{pair:?}: {said}"
    );
}

#[test]
fn fio_verifies_every_way_of_io_on_sqlite() {
    fio(Pair::SqliteFile);
}

#[test]
fn fio_verifies_every_way_of_io_on_redis() {
    fio(Pair::RedisS3);
}

/// Writers whose later jobs verify what is there: direct and deep, in odd
/// sizes and places, with many syncs, vectored, and mapped by two.
fn fio(pair: Pair) {
    let volume = mounted(pair);
    let directory = format!("--directory={}", volume.path(""));
    let time = format!("--runtime={}", seconds(4));
    let common = [
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--minimal",
        &directory,
        &time,
        "--size=6M",
    ];
    let ways: [&[&str]; 5] = [
        &[
            "--name=direct",
            "--rw=randwrite",
            "--bs=4k",
            "--direct=1",
            "--ioengine=libaio",
            "--iodepth=8",
        ],
        &[
            "--name=mixed",
            "--rw=randrw",
            "--bsrange=1k-96k",
            "--bs_unaligned=1",
            "--end_fsync=1",
        ],
        &[
            "--name=synchronous",
            "--rw=write",
            "--bs=128k",
            "--ioengine=psync",
            "--fsync=4",
            "--do_verify=1",
        ],
        &[
            "--name=vectored",
            "--rw=randwrite",
            "--bs=16k",
            "--ioengine=pvsync",
            "--fdatasync=64",
        ],
        &[
            "--name=mapped",
            "--rw=randrw",
            "--bs=8k",
            "--ioengine=mmap",
            "--numjobs=2",
        ],
    ];
    for way in ways {
        run("fio", &[way, &common[..]].concat());
    }
}
