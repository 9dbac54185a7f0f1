//! The engine over a store in memory: what a server cannot be made to do at will.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use carafe_types::{CHUNK_SIZE, Error, FileType, Format, Ino, SessionId, Slice, SliceId};

use super::{Kv, lists, memory::Memory};
use crate::{
    Call, ChunkRecord, Compaction, Fallocate, LockKind, Meta, NewNode, OpKey, SessionInfo,
    SliceCommit, XattrMode, client::Client,
};

struct World {
    store: Memory,
    meta: Arc<dyn Meta>,
    session: SessionId,
}

async fn world(trash_days: u32) -> World {
    let store = Memory::default();
    let meta: Arc<dyn Meta> = Arc::new(Client::new(Kv::new(store.clone())));
    let format = Format {
        name: "vol".into(),
        uuid: "u".into(),
        trash_days,
        ..Format::default()
    };
    meta.format(&Call::internal(), &format, false)
        .await
        .unwrap();
    let info = SessionInfo::default();
    let session = meta.new_session(&Call::internal(), &info).await.unwrap();
    World {
        store,
        meta,
        session,
    }
}

impl World {
    fn call(&self) -> Call {
        Call {
            session: self.session,
            ..Call::internal()
        }
    }

    fn keyed(&self, sequence: u64) -> Call {
        let key = OpKey {
            session: self.session,
            slot: 1,
            sequence,
        };
        Call {
            key: Some(key),
            ..self.call()
        }
    }

    async fn file(&self, name: &str) -> Ino {
        self.meta
            .create(
                &self.call(),
                Ino::ROOT,
                name.as_bytes(),
                &NewNode::default(),
            )
            .await
            .unwrap()
            .0
    }

    async fn append(&self, ino: Ino, index: u32, id: u64) {
        let commit = SliceCommit {
            ino,
            index,
            slice: Slice::whole(0, SliceId(id), 10),
            mtime: carafe_types::Timestamp::default(),
        };
        self.meta.commit(&self.call(), &[commit]).await.unwrap()[0]
            .1
            .clone()
            .unwrap();
    }

    /// The keys that begin with a letter.
    fn keys(&self, letter: u8) -> usize {
        let dump = self.store.dump();
        dump.keys().filter(|key| key[0] == letter).count()
    }

    async fn used_inodes(&self) -> u64 {
        self.meta
            .statfs(&self.call(), Ino::ROOT)
            .await
            .unwrap()
            .used_inodes
    }
}

#[tokio::test]
async fn an_operation_whose_answer_is_lost_takes_effect_once() {
    let world = world(0).await;
    for (sequence, lost) in [(1, &world.store.lose_done), (2, &world.store.lose_undone)] {
        lost.store(1, Ordering::Relaxed);
        let name = format!("f{sequence}");
        let call = world.keyed(sequence);
        world
            .meta
            .create(&call, Ino::ROOT, name.as_bytes(), &NewNode::default())
            .await
            .unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 0, "one was lost");
    }
    assert_eq!(world.used_inodes().await, 2);
}

#[tokio::test]
async fn a_scan_ends_although_no_state_is_kept() {
    const CHUNKS: u32 = 1_100;
    let world = world(0).await;
    let ino = world.file("f").await;
    for index in 0..CHUNKS {
        world.append(ino, index, u64::from(10_000 + index)).await;
    }
    let mut seen = BTreeSet::new();
    let mut visit = |chunk: ChunkRecord| {
        world.store.touch();
        seen.insert(chunk.index);
    };
    let patience = Duration::from_secs(10);
    let scan = lists::all_chunks(&world.store, patience, &mut visit);
    scan.await.unwrap();
    assert_eq!(
        seen.len(),
        CHUNKS as usize,
        "two pages, each of another state"
    );
}

#[tokio::test]
async fn a_common_operation_is_one_trip() {
    let world = world(0).await;
    world.file("warm").await;
    let before = world.store.trips.load(Ordering::Relaxed);
    let ino = world.file("f").await;
    let after = world.store.trips.load(Ordering::Relaxed);
    assert_eq!(
        after - before,
        2,
        "whether the name is free, and the commit"
    );
    world.append(ino, 0, 1).await;
    let before = world.store.trips.load(Ordering::Relaxed);
    world.append(ino, 0, 2).await;
    assert_eq!(
        world.store.trips.load(Ordering::Relaxed) - before,
        1,
        "the commit"
    );
}

/// Two clients that guess from what they saw change one directory in turn.
#[tokio::test]
async fn what_another_client_changed_is_seen_at_the_commit() {
    let world = world(0).await;
    let other: Arc<dyn Meta> = Arc::new(Client::new(Kv::new(world.store.clone())));
    for number in 0..20 {
        let meta = if number % 2 == 0 { &world.meta } else { &other };
        let name = format!("f{number}");
        meta.create(
            &world.call(),
            Ino::ROOT,
            name.as_bytes(),
            &NewNode::default(),
        )
        .await
        .unwrap();
        let again = other
            .create(
                &world.call(),
                Ino::ROOT,
                name.as_bytes(),
                &NewNode::default(),
            )
            .await;
        assert_eq!(again, Err(Error::Exists));
    }
    assert_eq!(world.used_inodes().await, 20);
}

#[tokio::test]
async fn many_holes_go_before_the_rest() {
    let world = world(0).await;
    let ino = world.file("sparse").await;
    for index in (0..900).step_by(3) {
        world.append(ino, index, u64::from(index) + 1).await;
    }
    world
        .meta
        .fallocate(
            &world.call(),
            ino,
            Fallocate::PunchHole,
            5,
            800 * CHUNK_SIZE,
        )
        .await
        .unwrap();
    let call = world.call();
    let slices = |index| world.meta.read_chunk(&call, ino, index);
    for index in [0, 3, 300, 798] {
        let list = slices(index).await.unwrap();
        let last = list.last().unwrap();
        assert_eq!((list.len(), last.id), (2, SliceId::HOLE), "chunk {index}");
    }
    assert_eq!(slices(897).await.unwrap().len(), 1);
}

#[tokio::test]
async fn more_attributes_than_a_transaction_holds_go_with_the_inode() {
    let world = world(0).await;
    let ino = world.file("f").await;
    for number in 0..200 {
        let name = format!("user.{number}");
        world
            .meta
            .setxattr(
                &world.call(),
                ino,
                name.as_bytes(),
                b"v",
                XattrMode::default(),
            )
            .await
            .unwrap();
    }
    let names = world.meta.listxattr(&world.call(), ino).await.unwrap();
    assert_eq!(names.len(), 200);
    world
        .meta
        .unlink(&world.call(), Ino::ROOT, b"f")
        .await
        .unwrap();
    let left = world.store.dump();
    assert!(
        left.keys()
            .all(|key| !key.starts_with(&super::keys::xattrs(ino).start))
    );
}

/// A long list's slices lose their references in several steps, none of them twice.
#[tokio::test]
async fn a_long_list_of_slices_is_given_up_in_parts() {
    let world = world(0).await;
    let ino = world.file("f").await;
    for id in 1..=300 {
        world.append(ino, 0, id).await;
    }
    let front = world.meta.read_chunk(&world.call(), ino, 0).await.unwrap();
    let compaction = Compaction {
        ino,
        index: 0,
        id: SliceId(1000),
        front: front.to_vec(),
        keep: 0,
        merged: vec![Slice::whole(0, SliceId(1000), 10)],
    };
    assert!(
        world
            .meta
            .compact(&world.call(), &compaction)
            .await
            .unwrap()
    );
    assert_eq!((world.keys(b'L'), world.keys(b'K')), (1, 0), "they wait");
    let mut steps = 0;
    while world.keys(b'L') > 0 {
        let due = super::lists::delayed(&world.store, terms(), 1, 10)
            .await
            .unwrap();
        let list = due.into_iter().next().unwrap();
        let engine = Kv::new(world.store.clone());
        let plan =
            move |reads: &dyn crate::ops::Reads| crate::ops::clean::drop_delayed(reads, list.key);
        crate::engine::Engine::transact(&engine, terms(), Arc::new(plan))
            .await
            .unwrap();
        steps += 1;
    }
    assert!(steps > 1);
    let dead = world.meta.dead_slices(&world.call(), 1000).await.unwrap();
    assert_eq!(dead.len(), 300);
    world
        .meta
        .forget_slices(&world.call(), &dead)
        .await
        .unwrap();
    assert_eq!(world.keys(b'K'), 0);
}

fn terms() -> crate::engine::Terms {
    crate::engine::Terms {
        deadline: std::time::Instant::now() + std::time::Duration::from_secs(10),
        key: None,
    }
}

#[tokio::test]
async fn many_files_are_committed_together() {
    let world = world(0).await;
    let mut commits = Vec::new();
    for number in 0..150u64 {
        commits.push(SliceCommit {
            ino: world.file(&format!("f{number}")).await,
            index: 0,
            slice: Slice::whole(0, SliceId(number + 1), 10),
            mtime: carafe_types::Timestamp::default(),
        });
    }
    let call = world.keyed(7);
    let first = world.meta.commit(&call, &commits).await.unwrap();
    assert!(first.len() == 150 && first.iter().all(|(_, attr)| attr.is_ok()));
    let again = world.meta.commit(&call, &commits).await.unwrap();
    assert_eq!(again, first, "sent again, it answers the same");
    let list = world
        .meta
        .read_chunk(&call, commits[149].ino, 0)
        .await
        .unwrap();
    assert_eq!(list.len(), 1);
}

#[tokio::test]
async fn a_session_takes_its_locks_and_records_with_it() {
    let world = world(0).await;
    for number in 0..100 {
        let ino = world.file(&format!("f{number}")).await;
        world
            .meta
            .flock(&world.call(), ino, 1, LockKind::Write)
            .await
            .unwrap();
    }
    let made = NewNode {
        kind: FileType::Directory,
        ..NewNode::default()
    };
    world
        .meta
        .create(&world.keyed(1), Ino::ROOT, b"d", &made)
        .await
        .unwrap();
    assert_eq!((world.keys(b'F'), world.keys(b'Z')), (100, 1));
    world
        .meta
        .close_session(&world.call(), world.session)
        .await
        .unwrap();
    assert_eq!(
        (world.keys(b'F'), world.keys(b'Z'), world.keys(b'S')),
        (0, 0, 0)
    );
}
