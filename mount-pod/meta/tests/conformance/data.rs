//! Data and attributes.

use std::time::Duration;

use carafe_meta::{Call, Compaction, Fallocate, Meta, NewNode, OpKey, SetAttr, SliceCommit};
use carafe_types::{CHUNK_SIZE, Error, Ino, Segment, Slice, SliceId, Timestamp, overlay};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    a_committed_slice_is_read_back(format(0));
    a_commit_of_several_files_answers_each(format(0));
    parallel_commits_lose_nothing(format(0));
    cutting_and_growing_reads_zeros(format(0));
    cutting_far_zeroes_the_chunks_between(format(0));
    punched_holes_read_as_zeros(format(0));
    a_copied_range_refers_to_the_same_slices(format(0));
    compaction_replaces_the_front_of_a_list(format(0));
    compaction_lets_slices_wait_where_there_is_a_trash(format(1));
    a_list_of_holes_gets_empty(format(0));
    only_one_of_many_compactions_is_done(format(0));
    attributes_are_set_as_posix_asks(format(0));
    slice_ids_are_never_given_twice(format(0));
    syncing_works(format(0));
}

pub(crate) async fn commit(volume: &Volume, ino: Ino, index: u32, pos: u32, len: u32) -> SliceId {
    let id = volume
        .meta
        .take_slice_ids(&volume.call())
        .await
        .unwrap()
        .next;
    let mtime = Timestamp {
        secs: 1_700_000_000,
        nanos: 5,
    };
    let commit = SliceCommit {
        ino,
        index,
        slice: Slice::whole(pos, id, len),
        mtime,
    };
    let answer = volume.meta.commit(&volume.call(), &[commit]).await.unwrap();
    assert_eq!(answer[0].1.as_ref().unwrap().mtime, mtime);
    id
}

async fn read(volume: &Volume, ino: Ino, index: u32, pos: u32, len: u32) -> Vec<Segment> {
    let slices = volume
        .meta
        .read_chunk(&volume.call(), ino, index)
        .await
        .unwrap();
    overlay(&slices, pos, len)
}

async fn a_committed_slice_is_read_back(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let id = commit(&volume, ino, 1, 100, 5000).await;
    assert_eq!(
        volume
            .meta
            .getattr(&volume.call(), ino)
            .await
            .unwrap()
            .length,
        CHUNK_SIZE + 5100
    );
    let slices = volume
        .meta
        .read_chunk(&volume.call(), ino, 1)
        .await
        .unwrap();
    assert_eq!(*slices, [Slice::whole(100, id, 5000)]);
    assert!(
        volume
            .meta
            .read_chunk(&volume.call(), ino, 0)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(volume.used().await, (CHUNK_SIZE + 8192, 1));
}

async fn a_commit_of_several_files_answers_each(volume: Volume) {
    let ((one, _), (two, _)) = (
        volume.file(Ino::ROOT, "1").await,
        volume.file(Ino::ROOT, "2").await,
    );
    let ids = volume.meta.take_slice_ids(&volume.call()).await.unwrap();
    let at = |ino, pos, number: u64| SliceCommit {
        ino,
        index: 0,
        slice: Slice::whole(pos, SliceId(ids.next.0 + number), 10),
        mtime: Timestamp::default(),
    };
    let commits = [
        at(two, 0, 0),
        at(Ino(999_999), 0, 1),
        at(one, 0, 2),
        at(two, 10, 3),
    ];
    let answer = volume.meta.commit(&volume.call(), &commits).await.unwrap();
    let lengths: Vec<_> = answer
        .into_iter()
        .map(|(ino, attr)| (ino, attr.map(|attr| attr.length)))
        .collect();
    assert_eq!(
        lengths,
        [
            (two, Ok(20)),
            (Ino(999_999), Err(Error::NotFound)),
            (one, Ok(10))
        ]
    );
}

async fn parallel_commits_lose_nothing(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8u32 {
        let (meta, call) = (volume.meta.clone(), volume.call());
        tasks.spawn(async move {
            let ids = meta.take_slice_ids(&call).await.unwrap();
            for number in 0..10u32 {
                let slice = Slice::whole(
                    (task * 10 + number) * 10,
                    SliceId(ids.next.0 + u64::from(number)),
                    10,
                );
                let commit = SliceCommit {
                    ino,
                    index: 0,
                    slice,
                    mtime: Timestamp::default(),
                };
                meta.commit(&call, &[commit]).await.unwrap()[0]
                    .1
                    .as_ref()
                    .unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(
        volume
            .meta
            .getattr(&volume.call(), ino)
            .await
            .unwrap()
            .length,
        800
    );
    assert!(
        read(&volume, ino, 0, 0, 800)
            .await
            .iter()
            .all(|segment| !segment.id.is_hole())
    );
}

async fn resize(volume: &Volume, ino: Ino, size: u64) {
    let set = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    assert_eq!(
        volume
            .meta
            .setattr(&volume.call(), ino, &set)
            .await
            .unwrap()
            .length,
        size
    );
}

async fn cutting_and_growing_reads_zeros(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let id = commit(&volume, ino, 0, 0, 1000).await;
    resize(&volume, ino, 400).await;
    resize(&volume, ino, 1000).await;
    let seen: Vec<_> = read(&volume, ino, 0, 0, 1000)
        .await
        .into_iter()
        .map(|segment| (segment.len, segment.id))
        .collect();
    assert_eq!(seen, [(400, id), (600, SliceId::HOLE)]);
}

async fn cutting_far_zeroes_the_chunks_between(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    for index in 0..4 {
        commit(&volume, ino, index, 0, CHUNK_SIZE as u32).await;
    }
    resize(&volume, ino, 100).await;
    resize(&volume, ino, 4 * CHUNK_SIZE).await;
    for index in 0..4 {
        let seen = read(&volume, ino, index, 200, 1000).await;
        assert!(
            seen.iter().all(|segment| segment.id.is_hole()),
            "chunk {index}"
        );
    }
}

async fn punched_holes_read_as_zeros(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let id = commit(&volume, ino, 0, 0, 1000).await;
    meta.fallocate(&call, ino, Fallocate::PunchHole, 100, 50)
        .await
        .unwrap();
    let seen: Vec<_> = read(&volume, ino, 0, 0, 1000)
        .await
        .into_iter()
        .map(|segment| (segment.len, segment.id))
        .collect();
    assert_eq!(seen, [(100, id), (50, SliceId::HOLE), (850, id)]);
    assert_eq!(
        meta.fallocate(&call, ino, Fallocate::KeepSize, 0, 5000)
            .await
            .unwrap()
            .length,
        1000
    );
    assert_eq!(
        meta.fallocate(&call, ino, Fallocate::Grow, 0, 5000)
            .await
            .unwrap()
            .length,
        5000
    );
    assert_eq!(
        meta.fallocate(&call, ino, Fallocate::ZeroRange, 900, 6000)
            .await
            .unwrap()
            .length,
        6900
    );
    assert_eq!(
        meta.fallocate(&call, ino, Fallocate::Grow, 0, 0).await,
        Err(Error::Invalid)
    );
    assert_eq!(
        meta.fallocate(&call, Ino::ROOT, Fallocate::Grow, 0, 1)
            .await,
        Err(Error::IsDirectory)
    );
}

async fn a_copied_range_refers_to_the_same_slices(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let ((from, _), (to, _)) = (
        volume.file(Ino::ROOT, "1").await,
        volume.file(Ino::ROOT, "2").await,
    );
    let id = commit(&volume, from, 0, 0, 1000).await;
    let target = CHUNK_SIZE - 300;
    let (copied, attr) = meta
        .copy_range(&call, from, 100, to, target, 5000)
        .await
        .unwrap();
    assert_eq!((copied, attr.length), (900, target + 900));
    let head = read(&volume, to, 0, (CHUNK_SIZE - 300) as u32, 300).await;
    let tail = read(&volume, to, 1, 0, 600).await;
    assert_eq!((head[0].id, head[0].off, head[0].len), (id, 100, 300));
    assert_eq!((tail[0].id, tail[0].off, tail[0].len), (id, 400, 600));
    meta.unlink(&call, Ino::ROOT, b"1").await.unwrap();
    assert_eq!(
        meta.copy_range(&call, to, 1 << 30, to, 0, 5)
            .await
            .unwrap()
            .0,
        0
    );
}

async fn attributes_are_set_as_posix_asks(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let node = NewNode {
        mode: 0o6755,
        ..NewNode::default()
    };
    let (ino, _) = meta.create(&call, Ino::ROOT, b"f", &node).await.unwrap();
    let set = SetAttr {
        uid: Some(7),
        gid: Some(8),
        ..SetAttr::default()
    };
    let attr = meta.setattr(&call, ino, &set).await.unwrap();
    assert_eq!(
        (attr.mode, attr.uid, attr.gid),
        (0o755, 7, 8),
        "a new owner clears suid and sgid"
    );
    let time = Timestamp {
        secs: -5,
        nanos: 123_456_789,
    };
    let set = SetAttr {
        mode: Some(0o4711),
        atime: Some(time),
        mtime: Some(time),
        ..SetAttr::default()
    };
    let attr = meta.setattr(&call, ino, &set).await.unwrap();
    assert_eq!((attr.mode, attr.atime, attr.mtime), (0o4711, time, time));
    assert_eq!(
        meta.getattr(&call, ino).await.unwrap(),
        attr,
        "to the nanosecond"
    );
    tokio::time::sleep(Duration::from_millis(2)).await;
    let set = SetAttr {
        mtime_now: true,
        kill_suid: true,
        ..SetAttr::default()
    };
    let now = meta.setattr(&call, ino, &set).await.unwrap();
    assert!(now.mtime > attr.mtime && now.ctime > attr.ctime && now.mode == 0o711);
    assert_eq!(
        meta.setattr(
            &call,
            Ino::ROOT,
            &SetAttr {
                size: Some(0),
                ..SetAttr::default()
            }
        )
        .await,
        Err(Error::IsDirectory)
    );
    assert_eq!(
        meta.setattr(&call, Ino(77_777), &SetAttr::default()).await,
        Err(Error::NotFound)
    );
}

async fn slice_ids_are_never_given_twice(volume: Volume) {
    let (other, other_call) = volume.second().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        for ids in [
            volume.meta.take_slice_ids(&volume.call()).await.unwrap(),
            other.take_slice_ids(&other_call).await.unwrap(),
        ] {
            assert!((4095..=4096).contains(&(ids.end.0 - ids.next.0)) && ids.next.0 > 0);
            assert!((ids.next.0..ids.end.0).all(|id| seen.insert(id)));
        }
    }
}

async fn syncing_works(volume: Volume) {
    volume.file(Ino::ROOT, "f").await;
    let call = volume.call();
    let (one, two) = tokio::join!(volume.meta.sync(&call), volume.meta.sync(&call));
    assert_eq!((one, two), (Ok(()), Ok(())));
}

async fn list(volume: &Volume, ino: Ino) -> Vec<Slice> {
    let list = volume.meta.read_chunk(&volume.call(), ino, 0).await;
    list.unwrap().to_vec()
}

/// The compaction of a file's whole first chunk into one slice of 1,000 bytes.
async fn compaction(volume: &Volume, ino: Ino, keep: usize) -> Compaction {
    let ids = volume.meta.take_slice_ids(&volume.call()).await.unwrap();
    Compaction {
        ino,
        index: 0,
        id: ids.next,
        front: list(volume, ino).await,
        keep,
        merged: vec![Slice::whole(0, ids.next, 1000)],
    }
}

async fn dead(volume: &Volume) -> Vec<SliceId> {
    let dead = volume.meta.dead_slices(&volume.call(), 100).await.unwrap();
    let mut ids: Vec<_> = dead.into_iter().map(|(id, _)| id).collect();
    ids.sort();
    ids
}

async fn compaction_replaces_the_front_of_a_list(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let mut ids = Vec::new();
    for at in 0..4 {
        ids.push(commit(&volume, ino, 0, at * 1000, 1000).await);
    }
    let compaction = compaction(&volume, ino, 1).await;
    let before = volume.meta.getattr(&volume.call(), ino).await.unwrap();
    let behind = commit(&volume, ino, 0, 500, 100).await;
    let key = |sequence| Call {
        key: Some(OpKey {
            session: volume.session,
            slot: 7,
            sequence,
        }),
        ..volume.call()
    };
    for _ in 0..2 {
        let done = volume.meta.compact(&key(1), &compaction).await;
        assert!(done.unwrap(), "also when it is asked again");
    }
    let expected = [
        compaction.front[0],
        compaction.merged[0],
        Slice::whole(500, behind, 100),
    ];
    assert_eq!(list(&volume, ino).await, expected);
    assert_eq!(dead(&volume).await, ids[1..]);
    let after = volume.meta.getattr(&volume.call(), ino).await.unwrap();
    assert_eq!((after.length, after.mtime), (before.length, before.mtime));
    let again = volume.meta.compact(&key(2), &compaction).await.unwrap();
    assert!(!again, "the list begins otherwise now");
    assert_eq!(list(&volume, ino).await, expected);
    assert_eq!(dead(&volume).await, ids[1..]);
}

async fn compaction_lets_slices_wait_where_there_is_a_trash(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    commit(&volume, ino, 0, 0, 1000).await;
    commit(&volume, ino, 0, 500, 1000).await;
    let compaction = compaction(&volume, ino, 0).await;
    assert!(
        volume
            .meta
            .compact(&volume.call(), &compaction)
            .await
            .unwrap()
    );
    assert_eq!(list(&volume, ino).await, compaction.merged);
    assert_eq!(dead(&volume).await, []);
    volume.meta.expire_trash(&volume.call(), 100).await.unwrap();
    assert_eq!(dead(&volume).await, [], "their time is not over");
}

async fn a_list_of_holes_gets_empty(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let id = commit(&volume, ino, 0, 0, 1000).await;
    let cut = SetAttr {
        size: Some(0),
        ..SetAttr::default()
    };
    volume
        .meta
        .setattr(&volume.call(), ino, &cut)
        .await
        .unwrap();
    let compaction = Compaction {
        merged: Vec::new(),
        ..compaction(&volume, ino, 0).await
    };
    assert!(
        volume
            .meta
            .compact(&volume.call(), &compaction)
            .await
            .unwrap()
    );
    assert_eq!(
        (list(&volume, ino).await, dead(&volume).await),
        (vec![], vec![id])
    );
    let id = commit(&volume, ino, 0, 0, 10).await;
    assert_eq!(list(&volume, ino).await, [Slice::whole(0, id, 10)]);
}

async fn only_one_of_many_compactions_is_done(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    for at in 0..20 {
        commit(&volume, ino, 0, at * 100, 100).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    let mut compactions = Vec::new();
    for _ in 0..8 {
        compactions.push(compaction(&volume, ino, 0).await);
    }
    for compaction in compactions {
        let (meta, call) = volume.second().await;
        tasks.spawn(async move { meta.compact(&call, &compaction).await.unwrap() });
    }
    let (meta, call) = volume.second().await;
    let appended = append_some(&*meta, &call, ino).await;
    let done = tasks.join_all().await;
    assert_eq!(done.iter().filter(|done| **done).count(), 1);
    let list = list(&volume, ino).await;
    let expected: Vec<_> = list.iter().skip(1).copied().collect();
    assert_eq!(appended, expected, "what was appended meanwhile stays");
    assert_eq!(dead(&volume).await.len(), 20);
}

async fn append_some(meta: &dyn Meta, call: &Call, ino: Ino) -> Vec<Slice> {
    let ids = meta.take_slice_ids(call).await.unwrap();
    let slices: Vec<_> = (0..10)
        .map(|number| Slice::whole(number * 10, SliceId(ids.next.0 + u64::from(number)), 10))
        .collect();
    for slice in &slices {
        let commit = SliceCommit {
            ino,
            index: 0,
            slice: *slice,
            mtime: Timestamp::default(),
        };
        meta.commit(call, &[commit]).await.unwrap();
    }
    slices
}
