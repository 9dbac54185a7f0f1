//! Trees with all that the format holds, and what both clients must say of them.

use std::{
    fs::{self, File},
    io::Write,
    time::{Duration, Instant},
};

use crate::{
    fixture::{Pair, Volume, fingerprint, make_tree, shell},
    peer::{PeerMount, peer},
};

/// What [`make_tree`] makes, with attributes, lists, holes, devices, and a file and a
/// directory in the trash.
fn make(pair: Pair, at: &str) {
    make_tree(at);
    // What has an empty value is not there for the peer on etcd.
    let empty = if pair == Pair::EtcdFile { "-v x" } else { "" };
    shell(&format!(
        "cd '{at}' && truncate -s 10M a/sparse && setfattr -n user.colour -v blue a/file-4096 && setfattr -n user.empty {empty} 'with space' && \
         setfattr -n trusted.blob -v 0x00ff0a00 a/file-1 && \
         setfattr -n user.long -v \"$(head -c 3000 /dev/zero | tr '\\0' x)\" a/b && \
         mkdir lists && setfacl -m u:1:rwx,g:2:r,d:u:3:rw,d:g:4:x lists && echo x > lists/inherits && \
         setfacl -m u:5:r lists/inherits && chmod g-w lists/inherits && mkdir lists/below && \
         fallocate -p -o 1000000 -l 2000000 a/file-5000000 && fallocate -l 300000 a/b/allocated && \
         echo deep > a/b/c/deep && mknod a/null c 1 3 && mknod a/disk b 7 9 && chown -h 12:34 a/b/soft a/file-65537 && \
         mkdir gone && echo rubbish > gone/file && rm -r gone && rm a/b/small-40",
    ));
}

/// All that a client says of a tree.
fn told(at: &str) -> String {
    let rest = shell(&format!(
        "cd '{at}' && find . -printf '%p %b\\n' | LC_ALL=C sort && stat -c '%n %t:%T' a/null a/disk && \
         find . -print0 | LC_ALL=C sort -z | xargs -0 getfattr -hd -e hex -m '^(user|trusted)[.]' && \
         find . -not -type l -print0 | LC_ALL=C sort -z | xargs -0 getfacl -n && cat lists/inherits",
    ));
    fingerprint(at) + &rest
}

/// What `df` shows of a directory with a quota: the size of blocks, how many there may
/// be and how many are left, and the same of inodes.
fn usage(at: &str) -> String {
    shell(&format!("stat -fc '%S %b %f %a %c %d' '{at}'"))
}

/// The names in the trash, and what its files hold.
fn trash(at: &str) -> String {
    shell(&format!(
        "cd '{at}/.trash' && find . -type f | LC_ALL=C sort | xargs -d '\\n' md5sum"
    ))
}

/// Each writes a tree under a quota while the other is not there, and the other reads it.
pub(super) fn each_reads_the_others(pair: Pair, volume: &mut Volume) {
    let limits = [&["--path", "/ours", "--create"][..], &LIMITS].concat();
    volume.carafe(&["quota", "set"], &limits);
    volume.mount(&["-o", "enable-xattr"]);
    make(pair, &volume.path("ours"));
    let (written, removed) = (told(&volume.path("ours")), trash(&volume.path("")));
    let used = usage(&volume.path("ours"));
    fs::create_dir(volume.path("theirs")).unwrap();
    volume.unmount();

    let limits = [&["--path", "/theirs"][..], &LIMITS].concat();
    let (done, said) = peer(volume, &["quota", "set"], &limits);
    assert!(done, "{said}");
    let theirs = PeerMount::with(volume, &["--enable-xattr"]);
    let (ours_there, at) = (format!("{}/ours", theirs.0), format!("{}/theirs", theirs.0));
    shows_limits(&[&ours_there, &at]);
    same(&usage(&ours_there), &used, "the peer counts our tree");
    same(&told(&ours_there), &written, "the peer reads our tree");
    same(&trash(&theirs.0), &removed, "the peer reads our trash");
    make(pair, &at);
    let (written, removed) = (told(&at), trash(&theirs.0));
    drop(theirs);

    volume.mount(&["-o", "enable-xattr"]);
    let at = volume.path("theirs");
    same(&told(&at), &written, "we read the peer's tree");
    same(
        &trash(&volume.path("")),
        &removed,
        "we read the peer's trash",
    );
    // The trees are equal, and so must be what they use.
    same(&usage(&at), &used, "we count the peer's tree");
    volume.unmount();
    quotas_agree(volume);
}

/// Waits until the peer knows the quotas: it reads them in the background once it has
/// mounted, or at its next heartbeat 12 s later, and counts nothing below them before.
fn shows_limits(directories: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let knows = |at: &&str| usage(at).starts_with("4096 262144 ");
    while !directories.iter().all(knows) {
        assert!(Instant::now() < deadline, "the peer shows the limits");
        std::thread::sleep(Duration::from_millis(100));
    }
}

const LIMITS: [&str; 4] = ["--capacity", "1", "--inodes", "1000"];

/// Shows the lines that differ.
fn same(left: &str, right: &str, what: &str) {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (left, right) = (lines(left), lines(right));
    let only = |one: &[String], other: &[String]| {
        let only = one.iter().filter(|line| !other.contains(line));
        only.cloned().collect::<Vec<_>>()
    };
    assert!(
        left == right,
        "{what}: {:#?} is not {:#?}",
        only(&left, &right),
        only(&right, &left)
    );
}

/// Both show the same limits and the same use of them.
fn quotas_agree(volume: &Volume) {
    let ours = volume.carafe(&["quota", "list"], &[]);
    let (_, theirs) = peer(volume, &["quota", "list"], &[]);
    // Path, limit and use of inodes, percents; bytes are rounded in other ways.
    let cells = |row: &str| {
        let cells: Vec<_> = row
            .split('|')
            .map(|cell| cell.trim().replace(',', ""))
            .collect();
        [1, 4, 5, 6, 7].map(|at| cells[at].clone())
    };
    let rows = |said: &str| {
        let rows = said.lines().filter(|line| line.starts_with("| /"));
        rows.map(cells).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(rows(&ours), rows(&theirs), "{ours}{theirs}");
    assert_eq!(rows(&ours).len(), 2, "{ours}");
}

/// Pieces that [`write_in_pieces`] writes, and their length.
const PIECES: u8 = 40;
const PIECE: usize = 1000;

/// A file of as many slices as writes.
pub(super) fn write_in_pieces(path: &str) {
    let mut file = File::create(path).unwrap();
    for piece in 0..PIECES {
        file.write_all(&[piece; PIECE]).unwrap();
        file.sync_all().unwrap();
    }
}

/// That it holds what was written.
pub(super) fn check_pieces(path: &str) {
    let expected: Vec<u8> = (0..PIECES).flat_map(|piece| [piece; PIECE]).collect();
    assert!(
        fs::read(path).unwrap() == expected,
        "{path} after compaction"
    );
}
