//! The real `juicefs` and ours on one volume.

use carafe_testkit::juicefs;

use crate::fixture::{Pair, Volume, fingerprint, make_tree, run, shell};

/// A mount of the peer, taken away at the end.
pub(crate) struct PeerMount(pub(crate) String);

impl PeerMount {
    pub(crate) fn new(volume: &Volume) -> Self {
        Self::with(volume, &[])
    }

    /// With more options of its `mount`.
    pub(crate) fn with(volume: &Volume, options: &[&str]) -> Self {
        let target = volume.scratch("peer");
        std::fs::create_dir_all(&target).unwrap();
        let cache = volume.scratch("peer-cache");
        let log = volume.scratch("peer.log");
        let cache = ["--cache-dir", &cache, "--log", &log];
        let mount = ["mount", "-d", "--no-usage-report"];
        let place = [volume.peer_url(), &target];
        run(juicefs(), &[&mount[..], &cache, options, &place].concat());
        Self(target)
    }
}

/// What the peer says on both channels to `juicefs COMMAND META-URL ARGUMENTS…`, and
/// whether it succeeded.
pub(crate) fn peer(volume: &Volume, command: &[&str], arguments: &[&str]) -> (bool, String) {
    let mut process = std::process::Command::new(juicefs());
    process.args(command).arg(volume.peer_url()).args(arguments);
    let output = process.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Whether the peer warns of the volume. How slow a busy machine's database is
/// says nothing of it.
pub(crate) fn warns(said: &str) -> bool {
    let mut lines = said.lines();
    lines.any(|line| line.contains("<WARNING>") && !line.contains("latency"))
}

impl Drop for PeerMount {
    fn drop(&mut self) {
        let _ = std::process::Command::new(juicefs())
            .args(["umount", "--flush", &self.0])
            .output();
        let _ = std::process::Command::new("umount")
            .args(["-l", &self.0])
            .output();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(format!("{}.log", self.0));
            eprintln!("{}", log.unwrap_or_default());
        }
    }
}

#[test]
fn the_peer_reads_our_tree_and_we_read_the_peers_on_sqlite() {
    both_ways(Pair::SqliteFile);
}

#[test]
fn the_peer_reads_our_tree_and_we_read_the_peers_on_redis() {
    both_ways(Pair::RedisS3);
}

fn both_ways(pair: Pair) {
    let mut volume = Volume::mounted(pair);
    let ours = volume.path("ours");
    make_tree(&ours);
    let written = fingerprint(&ours);
    volume.unmount();
    {
        let peer = PeerMount::new(&volume);
        assert_eq!(
            fingerprint(&format!("{}/ours", peer.0)),
            written,
            "{pair:?}: the peer reads our tree"
        );
        make_tree(&format!("{}/theirs", peer.0));
        let theirs = fingerprint(&format!("{}/theirs", peer.0));
        drop(peer);
        volume.mount(&[]);
        assert_eq!(
            fingerprint(&volume.path("theirs")),
            theirs,
            "{pair:?}: we read the peer's tree"
        );
    }
    volume.unmount();
    fsck(&volume);
}

#[test]
fn a_volume_that_the_peer_formatted_mounts_as_it_is() {
    for pair in Pair::ALL {
        let mut volume = Volume::unformatted(pair);
        run(
            juicefs(),
            &[
                &["format", volume.peer_url(), "mounted"],
                &volume.store_arguments()[..],
            ]
            .concat(),
        );
        volume.mount(&[]);
        std::fs::write(volume.path("file"), b"bytes").unwrap();
        assert_eq!(
            std::fs::read(volume.path("file")).unwrap(),
            b"bytes",
            "{pair:?}"
        );
        volume.unmount();
        fsck(&volume);
    }
}

#[test]
fn the_peer_shows_our_session() {
    for pair in Pair::ALL {
        let volume = Volume::mounted(pair);
        let said = run(juicefs(), &["status", volume.peer_url()]);
        let status: serde_json::Value = serde_json::from_str(&said).unwrap();
        let session = &status["Sessions"][0];
        let time = session["MountTime"].as_str().unwrap();
        let age = jiff::Timestamp::now().duration_since(time.parse().unwrap());
        assert!((0..120).contains(&age.as_secs()), "{pair:?}: {said}");
        assert_eq!(session["MountPoint"], volume.path("").trim_end_matches('/'));
    }
}

#[test]
fn both_compact_what_both_write_on_sqlite() {
    both_compact(Pair::SqliteFile);
}

#[test]
fn both_compact_what_both_write_on_redis() {
    both_compact(Pair::RedisS3);
}

/// Two writers of one chunk, each through a client of its own; both clients shorten
/// its slice list while the other appends.
fn both_compact(pair: Pair) {
    let mut volume = Volume::mounted(pair);
    let peer = PeerMount::new(&volume);
    let paths = [volume.path("both"), format!("{}/both", peer.0)];
    std::fs::write(&paths[0], vec![0; 1_600_000]).unwrap();
    std::thread::scope(|scope| {
        for (own, path) in paths.iter().enumerate() {
            scope.spawn(move || scribble(path, own));
        }
    });
    let expected: Vec<u8> = (0..800).flat_map(piece).collect();
    // What both have under way shall end.
    std::thread::sleep(std::time::Duration::from_secs(2));
    drop(peer);
    volume.unmount();
    volume.mount(&[]);
    assert!(
        std::fs::read(volume.path("both")).unwrap() == expected,
        "{pair:?}: we read what both wrote"
    );
    volume.unmount();
    let peer = PeerMount::new(&volume);
    assert!(
        std::fs::read(format!("{}/both", peer.0)).unwrap() == expected,
        "{pair:?}: the peer reads what both wrote"
    );
    drop(peer);
    fsck(&volume);
    if pair == Pair::SqliteFile {
        nothing_leaks(&volume);
    }
}

fn piece(number: usize) -> Vec<u8> {
    vec![number as u8 | 1; 2000]
}

/// Every second piece of the file, each flushed by itself, in no order.
fn scribble(path: &str, own: usize) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    for round in 0..400 {
        let number = round * 239 % 400 * 2 + own;
        file.write_all_at(&piece(number), number as u64 * 2000)
            .unwrap();
        file.sync_all().unwrap();
    }
}

/// The peer's gc knows every object that is old enough for it to look at.
fn nothing_leaks(volume: &Volume) {
    shell(&format!(
        "find {} -type f -exec touch -d '3 hours ago' {{}} +",
        volume.bucket()
    ));
    let output = std::process::Command::new(juicefs())
        .args(["gc", volume.peer_url()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains(" 0 leaked") && text.contains(" 0 skipped"),
        "{text}"
    );
}

/// The peer's own check finds no block missing, and its gc nothing leaked.
pub(crate) fn fsck(volume: &Volume) {
    run(juicefs(), &["fsck", volume.peer_url()]);
    run(juicefs(), &["gc", volume.peer_url()]);
}
