//! Administration of real volumes, and the real `juicefs` as a second opinion.

use std::{fs, io::Write, sync::Arc};

use carafe_meta::{Admin, Call, ConnectOptions, DirStat, connect_admin};
use carafe_testkit::juicefs;
use carafe_types::Ino;

use crate::{
    fixture::{CARAFE, Pair, Volume, make_tree, run, shell},
    peer::{PeerMount, fsck, peer, warns},
};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

async fn engine(volume: &Volume) -> (Arc<dyn Admin>, Call) {
    let meta = connect_admin(volume.url(), None, ConnectOptions::default()).await;
    let (meta, call) = (meta.unwrap(), Call::internal());
    meta.load(&call).await.unwrap();
    (meta, call)
}

/// The names and contents of a tree.
pub(crate) fn contents(at: &str) -> String {
    shell(&format!(
        "cd '{at}' && find . | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum",
    ))
}

/// A volume with a tree, not mounted.
fn with_tree(pair: Pair) -> Volume {
    let mut volume = Volume::mounted(pair);
    make_tree(&volume.path("tree"));
    volume.unmount();
    volume
}

#[test]
fn leaked_objects_are_found_and_deleted_on_sqlite() {
    leaked(Pair::SqliteFile);
}

#[test]
fn leaked_objects_are_found_and_deleted_on_redis() {
    leaked(Pair::RedisS3);
}

fn leaked(pair: Pair) {
    let mut volume = with_tree(pair);
    let dir = format!("{}/chunks/0/900", volume.objects());
    fs::create_dir_all(&dir).unwrap();
    let leaked = format!("{dir}/900000_0_100");
    fs::write(&leaked, [7; 100]).unwrap();
    // What a client that is killed leaves of an object that it writes to a directory.
    let unfinished = format!("{dir}/.900001_0_100.tmp.7");
    fs::write(&unfinished, [7; 50]).unwrap();
    let said = volume.carafe(&["gc"], &[]);
    assert!(
        said.contains(" 0 leaked (0 bytes)") && said.contains(" 2 skipped (150 bytes)"),
        "a young object may be of a write under way: {said}"
    );
    volume.age_objects();
    let said = volume.carafe(&["gc"], &[]);
    assert!(said.contains(" 2 leaked (150 bytes)"), "{pair:?}: {said}");
    let (_, theirs) = peer(&volume, &["gc"], &[]);
    assert!(theirs.contains(" 2 leaked"), "{pair:?}: {theirs}");
    assert!(fs::exists(&leaked).unwrap(), "nothing is deleted unasked");
    let said = volume.carafe(&["gc", "--delete"], &[]);
    assert!(said.contains(" 2 leaked objects"), "{pair:?}: {said}");
    for gone in [&leaked, &unfinished] {
        assert!(!fs::exists(gone).unwrap(), "{pair:?}: {gone} is gone");
    }
    let (_, theirs) = peer(&volume, &["gc"], &[]);
    assert!(
        theirs.contains(" 0 leaked") && theirs.contains(" 0 skipped"),
        "{pair:?}: {theirs}"
    );
    volume.carafe(&["fsck"], &[]);
    fsck(&volume);
    volume.mount(&[]);
    fs::read(volume.path("tree/a/file-5000000")).unwrap();
}

#[test]
fn lost_and_short_objects_are_found_on_sqlite() {
    lost(Pair::SqliteFile);
}

#[test]
fn lost_and_short_objects_are_found_on_redis() {
    lost(Pair::RedisS3);
}

fn lost(pair: Pair) {
    let volume = with_tree(pair);
    let said = volume.carafe(&["fsck"], &[]);
    assert!(said.contains("found "), "{said}");
    let info = volume.carafe(&["info"], &["/tree/a/file-5000000"]);
    let objects: Vec<&str> = info
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .find(|word| word.contains("chunks/"))
        })
        .collect();
    assert_eq!(objects.len(), 2, "5 MB are two blocks: {info}");
    let below = |object: &str| object.strip_prefix("mounted/").unwrap().to_owned();
    let at = |object: &str| format!("{}/{}", volume.objects(), below(object));
    fs::remove_file(at(objects[0])).unwrap();
    let said = volume.carafe_finds(&["fsck"], &[]);
    assert!(
        said.contains("/tree/a/file-5000000") && said.contains("is missing"),
        "{pair:?}: {said}"
    );
    assert!(
        said.contains("1 blocks (4194304 bytes) of 1 files"),
        "{said}"
    );
    let (clean, theirs) = peer(&volume, &["fsck"], &[]);
    assert!(!clean, "{pair:?}: the peer sees it, too: {theirs}");
    fs::write(at(objects[1]), [0; 10]).unwrap();
    let said = volume.carafe_finds(&["fsck"], &[]);
    assert!(said.contains("has 10 bytes"), "{pair:?}: {said}");
}

#[test]
fn directories_that_do_not_agree_are_repaired_on_sqlite() {
    directories(Pair::SqliteFile);
}

#[test]
fn directories_that_do_not_agree_are_repaired_on_redis() {
    directories(Pair::RedisS3);
}

/// Makes a directory's links and statistics wrong.
async fn damage(volume: &Volume, path: &str) {
    let (meta, call) = engine(volume).await;
    let found = meta.resolve(&call, Ino::ROOT, path.as_bytes()).await;
    let (dir, attr) = found.unwrap();
    let off = DirStat {
        length: 5,
        space: -8192,
        inodes: 1,
    };
    meta.adjust_dir_stat(&call, dir, off).await.unwrap();
    let mut report = meta.inspect_dir(&call, dir).await.unwrap();
    report.links += 7;
    let done = meta.repair_dir(&call, dir, attr.parent, &report).await;
    assert_eq!(done, Ok(true));
}

fn directories(pair: Pair) {
    let volume = with_tree(pair);
    let all = ["--path", "/", "-r"];
    volume.carafe(&["fsck"], &all);
    block_on(damage(&volume, "tree/a"));
    let said = volume.carafe_finds(&["fsck"], &all);
    for expected in [
        "nlink of /tree/a is 10 and should be 3",
        "usage of /tree/a is",
    ] {
        assert!(said.contains(expected), "{pair:?}: {expected}: {said}");
    }
    let (_, theirs) = peer(&volume, &["fsck"], &all);
    assert!(theirs.contains("nlink of /tree/a should be 3"), "{theirs}");
    let said = volume.carafe(&["fsck", "--repair"], &all);
    assert!(said.contains("0 wrong, 2 repaired"), "{pair:?}: {said}");
    let (clean, theirs) = peer(&volume, &["fsck"], &all);
    assert!(clean && !warns(&theirs), "{pair:?}: {theirs}");
    volume.carafe(&["fsck"], &all);
    block_on(damage(&volume, "tree"));
    peer(
        &volume,
        &["fsck"],
        &["--path", "/", "-r", "--repair", "--sync-dir-stat"],
    );
    let said = volume.carafe(&["fsck"], &all);
    assert!(said.contains(" 0 wrong"), "{pair:?}: after theirs: {said}");
}

#[test]
fn quotas_are_set_shown_checked_and_repaired_on_sqlite() {
    quotas(Pair::SqliteFile);
}

#[test]
fn quotas_are_set_shown_checked_and_repaired_on_redis() {
    quotas(Pair::RedisS3);
}

fn quotas(pair: Pair) {
    let volume = with_tree(pair);
    let on_tree = ["--path", "/tree"];
    let limits = ["--path", "/tree", "--capacity", "1", "--inodes", "100"];
    volume.carafe(&["quota", "set"], &limits);
    volume.carafe(&["quota", "set"], &["--path", "/tree", "--inodes", "200"]);
    let said = volume.carafe(&["quota", "get"], &on_tree);
    assert!(said.contains("1.0 GiB") && said.contains("200"), "{said}");
    let new = ["--path", "/new", "--capacity", "2", "--create"];
    volume.carafe(&["quota", "set"], &new);
    let (_, theirs) = peer(&volume, &["quota", "list"], &[]);
    let ours = volume.carafe(&["quota", "list"], &[]);
    for path in ["/tree", "/new"] {
        assert!(
            ours.contains(path) && theirs.contains(path),
            "{ours}{theirs}"
        );
    }
    volume.carafe(&["quota", "check"], &on_tree);
    block_on(async {
        let (meta, call) = engine(&volume).await;
        let (dir, _) = meta.resolve(&call, Ino::ROOT, b"tree").await.unwrap();
        meta.adjust_quota(&call, dir, 4096, -3).await.unwrap();
    });
    let said = volume.carafe_finds(&["quota", "check"], &on_tree);
    assert!(said.contains("lacks -4096 bytes and 3 inodes"), "{said}");
    volume.carafe(&["quota", "check", "--repair"], &on_tree);
    volume.carafe(&["quota", "check", "--strict"], &on_tree);
    let strict = ["--path", "/tree", "--strict"];
    let (clean, theirs) = peer(&volume, &["quota", "check"], &strict);
    assert!(
        clean && theirs.contains("is consistent"),
        "{pair:?}: {theirs}"
    );
    volume.carafe(&["quota", "delete"], &on_tree);
    let left = volume.carafe(&["quota", "list"], &[]);
    assert!(!left.contains("/tree"), "{left}");
}

#[test]
fn a_tree_is_cloned_removed_and_restored_on_sqlite() {
    trees(Pair::SqliteFile);
}

#[test]
fn a_tree_is_cloned_removed_and_restored_on_redis() {
    trees(Pair::RedisS3);
}

fn trees(pair: Pair) {
    let mut volume = with_tree(pair);
    volume.mount(&[]);
    let (tree, copy) = (volume.path("tree"), volume.path("copy"));
    let written = contents(&tree);
    volume.carafe(&["clone", "-p"], &[tree.as_str(), copy.as_str()]);
    assert_eq!(contents(&copy), written, "{pair:?}: the copy");
    volume.carafe(&["rmr"], &["/tree"]);
    let gone = || !fs::exists(&tree).unwrap();
    wait_until("the mount sees that the tree is gone", gone);
    assert_eq!(contents(&copy), written, "{pair:?}: the copy stays");
    let hours = shell(&format!("ls {}", volume.path(".trash")));
    let hours: Vec<&str> = hours.split_whitespace().collect();
    let said = volume.carafe(&["restore", "--put-back"], &hours);
    assert!(said.contains(" 0 names are taken"), "{pair:?}: {said}");
    wait_until("the mount sees the tree again", || !gone());
    assert_eq!(contents(&tree), written, "{pair:?}: the tree is back");
    volume.carafe(&["rmr", "--skip-trash"], &[copy.as_str()]);
    volume.unmount();
    volume.carafe(&["fsck"], &["--path", "/", "-r"]);
    volume.carafe(&["fsck"], &[]);
    fsck(&volume);
    let (clean, theirs) = peer(&volume, &["fsck"], &["--path", "/", "-r"]);
    assert!(clean && !warns(&theirs), "{pair:?}: {theirs}");
    let peer = PeerMount::new(&volume);
    let theirs = format!("{}/tree", peer.0);
    assert_eq!(contents(&theirs), written, "{pair:?}: for the peer, too");
}

pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn the_peers_clone_and_trash_are_ours_on_sqlite() {
    the_peers(Pair::SqliteFile);
}

#[test]
fn the_peers_clone_and_trash_are_ours_on_redis() {
    the_peers(Pair::RedisS3);
}

fn the_peers(pair: Pair) {
    let volume = with_tree(pair);
    let peer = PeerMount::new(&volume);
    let at = |name: &str| format!("{}/{name}", peer.0);
    run(juicefs(), &["clone", &at("tree"), &at("copy")]);
    let written = contents(&at("tree"));
    run(juicefs(), &["rmr", &at("tree")]);
    let hours = shell(&format!("ls {}", at(".trash")));
    let hours: Vec<&str> = hours.split_whitespace().collect();
    volume.carafe(&["restore"], &hours);
    volume.carafe(&["restore", "--put-back"], &hours);
    wait_until("the peer sees the tree again", || {
        fs::exists(at("tree/a/b/small-1")).unwrap()
    });
    assert_eq!(contents(&at("tree")), written, "{pair:?}");
    drop(peer);
    volume.carafe(&["fsck"], &[]);
    volume.age_objects();
    let said = volume.carafe(&["gc"], &[]);
    assert!(said.contains(" 0 leaked"), "{pair:?}: {said}");
    fsck(&volume);
}

#[test]
fn info_and_summary_say_what_the_peer_says() {
    for pair in Pair::ALL {
        let volume = with_tree(pair);
        let peer = PeerMount::new(&volume);
        let tree = format!("{}/tree", peer.0);
        let tree = tree.as_str();
        for strict in [&["-r"][..], &["-r", "--strict"]] {
            let ours = volume.carafe(&[&["info"], strict].concat(), &["/tree"]);
            let theirs = run(juicefs(), &[&["info"], strict, &[tree]].concat());
            let figures = |said: &str| {
                let lines = said.lines().filter(|line| {
                    ["inode:", "files:", "dirs:"]
                        .iter()
                        .any(|word| line.contains(word))
                });
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(figures(&ours), figures(&theirs), "{pair:?} {strict:?}");
        }
        let ours = volume.carafe(&["summary", "--csv"], &["/tree"]);
        let theirs = run(juicefs(), &["summary", "--csv", tree]);
        let sorted = |said: &str| {
            let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
            // Of many that are equally large, each shows others.
            lines.retain(|line| !line.contains(",4096,") && !line.contains("..."));
            lines.sort();
            lines
        };
        assert_eq!(sorted(&ours), sorted(&theirs), "{pair:?}");
        let raw = volume.carafe(&["info", "--raw"], &["/tree/a/file-4096"]);
        assert!(raw.contains("/tree/a/b/hard"), "both names: {raw}");
    }
}

#[test]
fn compaction_leaves_few_slices_and_all_bytes() {
    for pair in Pair::ALL {
        let mut volume = Volume::mounted(pair);
        let mut file = fs::File::create(volume.path("log")).unwrap();
        for line in 0..40u8 {
            file.write_all(&[line; 100]).unwrap();
            file.sync_all().unwrap();
        }
        drop(file);
        let written = fs::read(volume.path("log")).unwrap();
        volume.unmount();
        for command in [&["compact"][..], &["gc", "--compact"]] {
            let arguments: &[&str] = if command[0] == "gc" { &[] } else { &["/log"] };
            let said = volume.carafe(command, arguments);
            let expected = if command[0] == "gc" {
                "compacted 0 chunks"
            } else {
                "compacted 1 chunks: 40 slices became 1"
            };
            assert!(said.contains(expected), "{pair:?}: {said}");
        }
        volume.mount(&[]);
        assert_eq!(fs::read(volume.path("log")).unwrap(), written, "{pair:?}");
        volume.unmount();
        volume.carafe(&["fsck"], &[]);
        fsck(&volume);
        let sessions = volume.status()["Sessions"].as_array().map(Vec::len);
        assert_eq!(sessions, Some(0), "{pair:?}: no session is left");
    }
}

#[test]
fn a_setting_is_changed_for_both() {
    for pair in Pair::ALL {
        let volume = Volume::formatted(pair);
        let changes = ["--trash-days", "7", "--capacity", "3", "--inodes", "1000"];
        let said = volume.carafe(&["config"], &changes);
        for expected in ["capacity: 0 B -> 3.0 GiB", "trash-days: 1 -> 7"] {
            assert!(said.contains(expected), "{pair:?}: {said}");
        }
        let (_, theirs) = peer(&volume, &["status"], &[]);
        for expected in ["\"Capacity\": 3221225472", "\"TrashDays\": 7"] {
            assert!(theirs.contains(expected), "{pair:?}: {theirs}");
        }
        peer(&volume, &["config", "--yes", "--trash-days", "2"], &[]);
        let said = volume.carafe(&["config"], &[]);
        assert!(said.contains("\"TrashDays\": 2"), "{pair:?}: {said}");
        if pair == Pair::RedisS3 {
            let wrong = ["config", volume.url(), "--secret-key", "hunter2"];
            let said = crate::fixture::carafe_fails(&wrong);
            assert!(!said.contains("hunter2"), "shows no secret: {said}");
        }
        volume.carafe(&["fsck"], &[]);
    }
}

/// Every command of the document, in its order, on one volume.
#[test]
fn the_documents_commands_run() {
    let mut volume = with_tree(Pair::SqliteFile);
    volume.mount(&[]);
    let root = env!("CARGO_MANIFEST_DIR");
    let text = fs::read_to_string(format!("{root}/../docs/administration.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    let commands: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(commands.len() > 15, "{commands:?}");
    let bin = volume.scratch("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(CARAFE, format!("{bin}/carafe")).unwrap();
    let hours = format!("$(ls {})", volume.path(".trash"));
    for command in commands {
        let line = command
            .replace("/mnt/demo", volume.path("").trim_end_matches('/'))
            .replace("2026-01-02-15", &hours);
        shell(&format!(
            "PATH={bin}:$PATH; export META={}; {line}",
            volume.url()
        ));
    }
}

#[test]
fn the_virtual_files_say_what_the_mount_does() {
    use std::io::Read;
    let volume = Volume::mounted(Pair::SqliteFile);
    let mut log = fs::File::open(volume.path(".accesslog")).unwrap();
    fs::create_dir(volume.path("new")).unwrap();
    fs::remove_file(volume.path("missing")).unwrap_err();
    let (mut text, mut part) = (String::new(), [0; 4096]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !text.contains("mkdir (1): OK <") || !text.contains("No such file") {
        assert!(std::time::Instant::now() < deadline, "{text}");
        let len = log.read(&mut part).unwrap();
        text += std::str::from_utf8(&part[..len]).unwrap();
    }
    drop(log);
    assert!(
        !text.contains("read ("),
        "it hears nothing of itself: {text}"
    );
    let stats = fs::read_to_string(volume.path(".stats")).unwrap();
    let figure = |name: &str| -> f64 {
        let line = stats.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("{name} in {stats}"));
        value.trim().parse().unwrap()
    };
    assert!(figure("juicefs_fuse_ops_durations_histogram_seconds_total") > 1.0);
    assert!(figure("juicefs_memory") > 1e6, "{stats}");
}
