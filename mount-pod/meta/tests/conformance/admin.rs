//! Administration: looks at the whole database, repairs, work on trees.

use std::collections::BTreeSet;

use carafe_meta::{
    Cloning, Compaction, DirStat, NewNode, Quota, Removal, SetAttr, SliceCommit, TreeUsage,
    XattrMode,
};
use carafe_types::{Error, FileType, Ino, Slice, SliceId, Timestamp};

use crate::{
    data::commit,
    engines::{Volume, format, on_engines_with_states, on_every_engine},
};

on_every_engine! {
    a_scan_shows_every_list(format(1));
    usage_is_the_same_with_and_without_statistics(format(1));
    paths_lead_back(format(1));
    damaged_statistics_and_links_are_found_and_repaired(format(1));
    an_unbooked_usage_is_added_above_the_limit_too(format(1));
    a_tree_is_removed_for_good_or_into_the_trash(format(1));
    a_clone_shares_slices_and_nothing_else(format(0));
    a_clone_that_passes_a_quota_leaves_nothing(format(1));
    a_tree_is_rebuilt_in_the_trash_and_put_back(format(1));
    slices_that_wait_show(format(1));
}

on_engines_with_states! {
    a_scan_misses_no_slice_that_moves(format(0));
}

/// `d/{f, s/g}` with 5000 and 100 bytes, and a second name of `f` in `s`.
async fn tree(volume: &Volume) -> (Ino, Ino, Ino) {
    let dir = volume.dir(Ino::ROOT, "d").await;
    let sub = volume.dir(dir, "s").await;
    let (file, _) = volume.file(dir, "f").await;
    commit(volume, file, 0, 0, 5000).await;
    let (small, _) = volume.file(sub, "g").await;
    commit(volume, small, 1, 0, 100).await;
    let call = volume.call();
    volume.meta.link(&call, file, sub, b"l").await.unwrap();
    (dir, sub, file)
}

async fn a_scan_shows_every_list(volume: Volume) {
    let (_, _, file) = tree(&volume).await;
    let call = volume.call();
    let mut seen = BTreeSet::new();
    let mut visit = |chunk: carafe_meta::ChunkRecord| {
        seen.insert((chunk.ino, chunk.index, chunk.slices.len()));
    };
    volume.meta.scan_chunks(&call, &mut visit).await.unwrap();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.contains(&(file, 0, 1)), "{seen:?}");
    let indexes = volume.meta.chunk_indexes(&call, file).await;
    assert_eq!(indexes, Ok(vec![0]));
}

/// More chunks than a page of any engine has.
const PAGES: u32 = 1_100;

/// While the first page is shown, a slice moves from the last chunk into the first one.
async fn a_scan_misses_no_slice_that_moves(volume: Volume) {
    let (first, _) = volume.file(Ino::ROOT, "first").await;
    let (last, _) = volume.file(Ino::ROOT, "last").await;
    commit(&volume, first, 0, 0, 10).await;
    fill(&volume, first).await;
    let moving = commit(&volume, last, 0, 0, 10).await;
    let (other, call) = volume.second().await;
    let moved = async || {
        let copied = other.copy_range(&call, last, 0, first, 10, 10).await;
        assert_eq!(copied.unwrap().0, 10);
        let id = other.take_slice_ids(&call).await.unwrap().next;
        let replaced = Compaction {
            ino: last,
            index: 0,
            id,
            front: vec![Slice::whole(0, moving, 10)],
            keep: 0,
            merged: vec![Slice::whole(0, id, 10)],
        };
        assert_eq!(other.compact(&call, &replaced).await, Ok(true));
    };
    let (mut shown, mut seen) = (0, false);
    let mut visit = |chunk: carafe_meta::ChunkRecord| {
        if shown == 0 {
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| runtime.block_on(moved()));
        }
        shown += 1;
        seen |= chunk.slices.iter().any(|slice| slice.id == moving);
    };
    let call = volume.call();
    volume.meta.scan_chunks(&call, &mut visit).await.unwrap();
    assert!(shown > PAGES, "{shown} chunks are several pages");
    assert!(seen, "the slice is in use before, meanwhile and after");
}

/// Gives a file many more chunks.
async fn fill(volume: &Volume, ino: Ino) {
    let call = volume.call();
    let ids = volume.meta.take_slice_ids(&call).await.unwrap();
    let commits: Vec<_> = (1..=PAGES)
        .map(|index| SliceCommit {
            ino,
            index,
            slice: Slice::whole(0, SliceId(ids.next.0 + u64::from(index)), 10),
            mtime: Timestamp::default(),
        })
        .collect();
    // As many as one transaction of any engine takes.
    for some in commits.chunks(20) {
        volume.meta.commit(&call, some).await.unwrap();
    }
}

async fn usage_is_the_same_with_and_without_statistics(volume: Volume) {
    let (dir, _, file) = tree(&volume).await;
    let call = volume.call();
    let whole = TreeUsage {
        files: 3,
        dirs: 2,
        length: 2 * 5000 + (64 << 20) + 100,
        space: 2 * 4096 + 2 * 8192 + (64 << 20) + 4096,
    };
    for strict in [true, false] {
        let usage = volume.meta.usage(&call, dir, true, strict).await;
        assert_eq!(usage, Ok(whole), "strict: {strict}");
    }
    let own = volume.meta.usage(&call, dir, false, false).await.unwrap();
    assert_eq!((own.files, own.dirs, own.length), (1, 2, 5000));
    let one = volume.meta.usage(&call, file, true, false).await.unwrap();
    assert_eq!((one.files, one.dirs, one.space), (1, 0, 8192));
}

async fn paths_lead_back(volume: Volume) {
    let (dir, sub, file) = tree(&volume).await;
    let call = volume.call();
    let paths = async |ino| {
        let paths = volume.meta.paths(&call, ino).await.unwrap();
        paths
            .into_iter()
            .map(|path| String::from_utf8(path).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(Ino::ROOT).await, ["/"]);
    assert_eq!(paths(dir).await, ["/d"]);
    assert_eq!(paths(sub).await, ["/d/s"]);
    assert_eq!(paths(file).await, ["/d/f", "/d/s/l"]);
    let none = volume.meta.paths(&call, Ino(999_999)).await;
    assert_eq!(none, Err(Error::NotFound));
}

async fn damaged_statistics_and_links_are_found_and_repaired(volume: Volume) {
    let (dir, _, _) = tree(&volume).await;
    let call = volume.call();
    let good = volume.meta.inspect_dir(&call, dir).await.unwrap();
    assert!(good.settled, "{good:?}");
    assert_eq!((good.wrong_links(), good.stat_gap()), (None, None));
    assert_eq!((good.links, good.dirs.len(), good.defects.len()), (3, 1, 0));
    let off = DirStat {
        length: -1,
        space: 4096,
        inodes: 2,
    };
    volume.meta.adjust_dir_stat(&call, dir, off).await.unwrap();
    let mut found = volume.meta.inspect_dir(&call, dir).await.unwrap();
    let gap = found.stat_gap().unwrap();
    assert_eq!((gap.length, gap.space, gap.inodes), (1, -4096, -2));
    volume.meta.adjust_dir_stat(&call, dir, gap).await.unwrap();
    // A repair is asked to make 9 links of what are 3, and then to undo it.
    found = volume.meta.inspect_dir(&call, dir).await.unwrap();
    assert_eq!(found.stat_gap(), None);
    found.links = 9;
    let done = volume.meta.repair_dir(&call, dir, Ino::ROOT, &found).await;
    assert_eq!(done, Ok(true));
    let wrong = volume.meta.inspect_dir(&call, dir).await.unwrap();
    assert_eq!(wrong.wrong_links(), Some(9));
    let stale = volume.meta.repair_dir(&call, dir, Ino::ROOT, &found).await;
    assert_eq!(stale, Ok(false), "what changed since is left alone");
    let done = volume.meta.repair_dir(&call, dir, Ino::ROOT, &wrong).await;
    assert_eq!(done, Ok(true));
    assert_eq!(volume.meta.getattr(&call, dir).await.unwrap().nlink, 3);
}

async fn an_unbooked_usage_is_added_above_the_limit_too(volume: Volume) {
    let (dir, _, _) = tree(&volume).await;
    let call = volume.call();
    let quota = Quota {
        max_bytes: 200 << 20,
        max_inodes: 0,
    };
    volume.meta.set_quota(&call, dir, quota).await.unwrap();
    let before = volume.meta.quotas(&call).await.unwrap();
    assert_eq!(before.len(), 1);
    for (bytes, inodes) in [(-4096, -1), (1 << 30, 5)] {
        volume
            .meta
            .adjust_quota(&call, dir, bytes, inodes)
            .await
            .unwrap();
    }
    let after = volume.meta.quotas(&call).await.unwrap()[0].1;
    assert_eq!(after.quota, quota);
    assert_eq!(after.used_bytes, before[0].1.used_bytes + (1 << 30) - 4096);
    assert_eq!(after.used_inodes, before[0].1.used_inodes + 4);
}

async fn a_tree_is_removed_for_good_or_into_the_trash(volume: Volume) {
    let call = volume.call();
    let before = volume.used().await;
    tree(&volume).await;
    let how = |skip_trash| Removal {
        skip_trash,
        threads: 3,
    };
    let count = volume
        .meta
        .remove_tree(&call, Ino::ROOT, b"d", how(true))
        .await;
    assert_eq!(count, Ok(5));
    assert_eq!(volume.used().await, before, "nothing of it is left");
    tree(&volume).await;
    let count = volume
        .meta
        .remove_tree(&call, Ino::ROOT, b"d", how(false))
        .await;
    assert_eq!(count, Ok(5));
    assert!(volume.names(Ino::ROOT).await.is_empty());
    let hours = volume.names(Ino::TRASH).await;
    assert_eq!(hours.len(), 1, "{hours:?}");
    let gone = volume
        .meta
        .remove_tree(&call, Ino::ROOT, b"d", how(false))
        .await;
    assert_eq!(gone, Err(Error::NotFound));
}

async fn a_clone_shares_slices_and_nothing_else(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (dir, _, file) = tree(&volume).await;
    meta.setxattr(&call, file, b"user.colour", b"blue", XattrMode::Any)
        .await
        .unwrap();
    let link = NewNode {
        kind: FileType::Symlink,
        mode: 0o777,
        target: b"f".to_vec(),
        ..NewNode::default()
    };
    meta.create(&call, dir, b"y", &link).await.unwrap();
    let past = SetAttr {
        mtime: Some(Timestamp { secs: 99, nanos: 7 }),
        ..SetAttr::default()
    };
    meta.setattr(&call, dir, &past).await.unwrap();
    let how = Cloning {
        preserve: true,
        umask: 0,
    };
    let count = meta.clone_tree(&call, dir, Ino::ROOT, b"c", how).await;
    assert_eq!(count, Ok(6));
    let (copy, attr) = meta.resolve(&call, Ino::ROOT, b"c").await.unwrap();
    assert_eq!(attr.mtime, Timestamp { secs: 99, nanos: 7 });
    let report = meta.inspect_dir(&call, copy).await.unwrap();
    assert_eq!((report.wrong_links(), report.stat_gap()), (None, None));
    let (twin, attr) = meta.resolve(&call, copy, b"f").await.unwrap();
    assert_eq!((attr.nlink, attr.length, attr.parent), (1, 5000, copy));
    let slices = meta.read_chunk(&call, twin, 0).await.unwrap();
    assert_eq!(slices, meta.read_chunk(&call, file, 0).await.unwrap());
    let value = meta.getxattr(&call, twin, b"user.colour").await;
    assert_eq!(value.as_deref(), Ok(&b"blue"[..]));
    let (link, _) = meta.resolve(&call, copy, b"y").await.unwrap();
    assert_eq!(meta.readlink(&call, link).await.unwrap(), b"f");
    // The original goes for good: the clone's slices stay referred to.
    let removal = Removal {
        skip_trash: true,
        threads: 1,
    };
    meta.remove_tree(&call, Ino::ROOT, b"d", removal)
        .await
        .unwrap();
    assert!(meta.dead_slices(&call, 10).await.unwrap().is_empty());
    let again = meta.clone_tree(&call, twin, copy, b"f", how).await;
    assert_eq!(again, Err(Error::Exists));
    let inside = meta.clone_tree(&call, copy, copy, b"x", how).await;
    assert_eq!(inside, Err(Error::Invalid), "no tree holds its own clone");
}

async fn a_clone_that_passes_a_quota_leaves_nothing(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (dir, _, _) = tree(&volume).await;
    let small = volume.dir(Ino::ROOT, "small").await;
    let quota = Quota {
        max_bytes: 1 << 20,
        max_inodes: 0,
    };
    meta.set_quota(&call, small, quota).await.unwrap();
    let before = volume.used().await;
    let how = Cloning::default();
    let refused = meta.clone_tree(&call, dir, small, b"c", how).await;
    assert_eq!(refused, Err(Error::QuotaExceeded));
    let (space, inodes) = volume.used().await;
    // The directory of staged clones itself may be new.
    assert!(
        space - before.0 <= 4096 && inodes - before.1 <= 1,
        "{before:?} {space} {inodes}"
    );
    assert!(volume.names(small).await.is_empty());
    let (copy, _) = volume.file(small, "tiny").await;
    commit(&volume, copy, 0, 0, 10).await;
}

async fn a_tree_is_rebuilt_in_the_trash_and_put_back(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (dir, _, _) = tree(&volume).await;
    let (ino, _) = volume.file(dir, "h").await;
    let before = volume.used().await;
    let how = Removal {
        skip_trash: false,
        threads: 1,
    };
    meta.remove_tree(&call, Ino::ROOT, b"d", how).await.unwrap();
    let hour = volume.names(Ino::TRASH).await.remove(0);
    let (hour, _) = meta
        .lookup(&call, Ino::TRASH, hour.as_bytes())
        .await
        .unwrap();
    let file = format!("{dir}-{ino}-h");
    let refused = meta
        .restore(&call, hour, file.as_bytes(), dir, b"h", false)
        .await;
    assert_eq!(
        refused,
        Err(Error::NotFound),
        "its directory is in the trash"
    );
    meta.restore(&call, hour, file.as_bytes(), dir, b"h", true)
        .await
        .unwrap();
    let top = format!("1-{dir}-d");
    meta.restore(&call, hour, top.as_bytes(), Ino::ROOT, b"d", false)
        .await
        .unwrap();
    assert_eq!(volume.names(dir).await, ["h"]);
    let report = meta.inspect_dir(&call, dir).await.unwrap();
    assert_eq!((report.wrong_links(), report.stat_gap()), (None, None));
    let taken = meta
        .restore(&call, hour, top.as_bytes(), Ino::ROOT, b"d", false)
        .await;
    assert_eq!(taken, Err(Error::NotFound), "it is there no more");
    // The hour's directory alone is new.
    let (space, inodes) = volume.used().await;
    assert_eq!((space, inodes), (before.0 + 4096, before.1 + 1));
}

async fn slices_that_wait_show(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let first = commit(&volume, ino, 0, 0, 10).await;
    let second = commit(&volume, ino, 0, 10, 10).await;
    let front = meta.read_chunk(&call, ino, 0).await.unwrap().to_vec();
    let id = SliceId(second.0 + 1000);
    let compaction = Compaction {
        ino,
        index: 0,
        id,
        front,
        keep: 0,
        merged: vec![Slice::whole(0, id, 20)],
    };
    assert_eq!(meta.compact(&call, &compaction).await, Ok(true));
    let waiting = meta.delayed_slices(&call).await.unwrap();
    assert_eq!(waiting, [(first, 10), (second, 10)]);
}
