//! The real `juicefs` and ours on one volume.

use carafe_testkit::juicefs;

use crate::fixture::{Pair, Volume, fingerprint, make_tree, run};

/// A mount of the peer, taken away at the end.
struct PeerMount(String);

impl PeerMount {
    fn new(volume: &Volume) -> Self {
        let target = volume.scratch("peer");
        std::fs::create_dir_all(&target).unwrap();
        let cache = volume.scratch("peer-cache");
        let log = volume.scratch("peer.log");
        run(
            juicefs(),
            &[
                "mount",
                "-d",
                "--no-usage-report",
                "--cache-dir",
                &cache,
                "--log",
                &log,
                volume.url(),
                &target,
            ],
        );
        Self(target)
    }
}

impl Drop for PeerMount {
    fn drop(&mut self) {
        let _ = std::process::Command::new(juicefs())
            .args(["umount", "--flush", &self.0])
            .output();
        let _ = std::process::Command::new("umount")
            .args(["-l", &self.0])
            .output();
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
                &["format", volume.url(), "mounted"],
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
        let said = run(juicefs(), &["status", volume.url()]);
        let status: serde_json::Value = serde_json::from_str(&said).unwrap();
        let session = &status["Sessions"][0];
        let time = session["MountTime"].as_str().unwrap();
        let age = jiff::Timestamp::now().duration_since(time.parse().unwrap());
        assert!((0..120).contains(&age.as_secs()), "{pair:?}: {said}");
        assert_eq!(session["MountPoint"], volume.path("").trim_end_matches('/'));
    }
}

/// The peer's own check finds no block missing, and its gc nothing leaked.
fn fsck(volume: &Volume) {
    run(juicefs(), &["fsck", volume.url()]);
    run(juicefs(), &["gc", volume.url()]);
}
