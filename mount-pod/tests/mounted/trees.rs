//! Whole trees: copied, packed, listed, compared.

use crate::fixture::{Pair, Volume, fingerprint, make_tree, run};

#[test]
fn cp_and_tar_carry_a_tree_over_and_back_on_sqlite() {
    copied(Pair::SqliteFile);
}

#[test]
fn cp_and_tar_carry_a_tree_over_and_back_on_redis() {
    copied(Pair::RedisS3);
}

fn copied(pair: Pair) {
    let mut volume = Volume::mounted(pair);
    let local = tempfile::tempdir().unwrap();
    let source = local.path().join("tree").display().to_string();
    make_tree(&source);
    let before = fingerprint(&source);
    run("cp", &["-a", &source, &volume.path("copy")]);
    assert_eq!(
        fingerprint(&volume.path("copy")),
        before,
        "cp -a into the volume"
    );
    let archive = volume.path("tree.tar");
    // Only this format keeps the nanoseconds of times.
    let from = local.path().to_str().unwrap();
    run(
        "tar",
        &["--format=pax", "-C", from, "-cf", &archive, "tree"],
    );
    std::fs::create_dir(volume.path("unpacked")).unwrap();
    run("tar", &["-C", &volume.path("unpacked"), "-xf", &archive]);
    assert_eq!(
        fingerprint(&volume.path("unpacked/tree")),
        before,
        "tar within the volume"
    );
    volume.unmount();
    volume.mount(&[]);
    assert_eq!(
        fingerprint(&volume.path("copy")),
        before,
        "after a new mount"
    );
    run(
        "rm",
        &["-rf", &volume.path("copy"), &volume.path("unpacked")],
    );
    assert!(
        !std::path::Path::new(&volume.path("copy")).exists(),
        "rm -rf leaves nothing"
    );
}

#[test]
fn a_directory_of_thousands_lists_each_entry_once() {
    for pair in Pair::ALL {
        let volume = Volume::mounted(pair);
        let names: std::collections::BTreeSet<_> =
            (0..3_000).map(|n| format!("entry-{n}")).collect();
        for name in &names {
            std::fs::File::create(volume.path(name)).unwrap();
        }
        let mut listed: Vec<_> = std::fs::read_dir(volume.path(""))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        listed.sort();
        assert_eq!(listed, names.into_iter().collect::<Vec<_>>(), "{pair:?}");
    }
}
