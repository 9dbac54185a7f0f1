//! The real `juicefs` and pods on one volume.

use std::process::Command;

use carafe_e2e::shell;
use carafe_e2e::tools::Tools;

use crate::fixture::Fixture;

/// Sums of all files of a tree, and where its links point.
const FINGERPRINT: &str = "(find . -type f | sort | while read -r f; do md5sum \"$f\"; done; find . -type l | sort | while read -r l; do echo \"$l -> $(readlink \"$l\")\"; done; find . -type d | sort)";

/// Makes a tree in the current directory: sizes on both sides of a block, holes,
/// links, names that need quoting.
const TREE: &str = "set -e; mkdir -p 'a b/c/d' \u{e4}/\u{f6}; \
    for size in 0 1 4095 65536 131073; do dd if=/dev/urandom of=a\\ b/$size bs=$size count=1 2>/dev/null || : > a\\ b/$size; done; \
    dd if=/dev/urandom of=big bs=1M count=9 2>/dev/null; \
    dd if=/dev/urandom of=sparse bs=4096 count=1 seek=3000 2>/dev/null; \
    printf more >> big; echo moved > old; mv old \u{e4}/\u{f6}/new; \
    ln -s big 'link to big'; ln big 'a b/hard'; echo gone > gone; rm gone; truncate -s 5000000 big";

/// The real juicefs, to be told what to do.
pub(crate) fn juicefs() -> Command {
    Command::new(Tools::find().unwrap().program("juicefs").unwrap())
}

/// Runs a script in the root of a file system that the real juicefs has mounted.
///
/// The mount lives in namespaces of its own and goes with them, whatever happens.
pub(crate) fn with_juicefs(metaurl: &str, script: &str) -> anyhow::Result<String> {
    let work = tempfile::tempdir()?;
    let around = "mkdir root && \"$JUICEFS\" mount -d --no-usage-report --cache-dir \"$PWD/cache\" --log \"$PWD/log\" \"$METAURL\" root >&2 && \
        (cd root && sh -c \"$SCRIPT\") && \"$JUICEFS\" umount --flush root >&2";
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--mount",
        "--propagation=private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    unshare
        .args(["sh", "-c", around])
        .current_dir(work.path())
        .env("JUICEFS", juicefs().get_program())
        .env("METAURL", metaurl)
        .env("SCRIPT", script);
    shell::run(&mut unshare)
}

#[tokio::test]
async fn the_real_juicefs_reads_a_pods_tree_and_a_pod_reads_its() {
    let test = Fixture::new("peer").await.with_driver().await;
    let system = test.storage_class().await;
    test.claim("data").await;
    let node = test.node().await;
    test.start_pod("pod", &node, &["data"]);
    test.pod_ready("pod").await;
    let volume = test.volume_of("data").await;

    let ours = test
        .sh(
            "pod",
            &format!("mkdir /data/ours; cd /data/ours; {TREE}; sync; {FINGERPRINT}"),
        )
        .unwrap();
    assert!(ours.lines().count() > 10, "{ours}");
    let read = with_juicefs(
        &system.metaurl,
        &format!("cd {volume}/ours && {FINGERPRINT}"),
    )
    .unwrap();
    assert_eq!(read, ours, "the peer reads the pod's tree");

    let theirs = with_juicefs(&system.metaurl, &format!("mkdir -m 777 {volume}/theirs && cd {volume}/theirs && {TREE}; {FINGERPRINT}; chmod -R a+rX .")).unwrap();
    let read = test
        .sh("pod", &format!("cd /data/theirs; {FINGERPRINT}"))
        .unwrap();
    assert_eq!(read, theirs, "the pod reads the peer's tree");

    test.delete_pod("pod").await;
    test.no_mount_pods(&volume).await;
    shell::run(juicefs().args(["fsck", &system.metaurl])).expect("fsck finds nothing");
}
