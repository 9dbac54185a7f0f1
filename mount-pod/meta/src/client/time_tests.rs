//! What takes days, with a clock that is moved by hand, on both engines.

use std::{sync::Arc, time::Duration};

use carafe_types::{CHUNK_SIZE, Error, Format, Ino, ManualClock, Slice, SliceId, Timestamp};

use super::Client;
use crate::{
    Admin, Call, Compaction, Cursor, LockKind, Meta, NewNode, RenameFlags, SessionInfo, SetAttr,
    SliceCommit,
    engine::Engine,
    ops::{Counter, Mutation, Planned, Reads, clean::drop_delayed},
};

const DAY: u64 = 86_400;

struct World<E> {
    clock: Arc<ManualClock>,
    client: Client<E>,
    call: Call,
}

impl<E: Engine> World<E> {
    async fn new(engine: E, trash_days: u32) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp {
            secs: 1_750_000_000,
            nanos: 0,
        }));
        let client = Client {
            clock: clock.clone(),
            second_look: Duration::ZERO,
            ..Client::new(engine)
        };
        let format = Format {
            name: "days".into(),
            uuid: "u".into(),
            trash_days,
            ..Format::default()
        };
        client
            .format(&Call::internal(), &format, false)
            .await
            .unwrap();
        let session = client
            .new_session(&Call::internal(), &SessionInfo::default())
            .await
            .unwrap();
        Self {
            clock,
            client,
            call: Call {
                session,
                ..Call::internal()
            },
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn write(&self, name: &[u8], index: u32, id: u64) -> Ino {
        let made = self
            .client
            .create_open(
                &self.call,
                Ino::ROOT,
                name,
                &NewNode::default(),
                false,
                false,
            )
            .await;
        let ino = made.unwrap().0;
        self.client.close(&self.call, ino).await.unwrap();
        let slice = Slice::whole(0, SliceId(id), 1000);
        let commit = SliceCommit {
            ino,
            index,
            slice,
            mtime: Timestamp::default(),
        };
        self.client.commit(&self.call, &[commit]).await.unwrap()[0]
            .1
            .as_ref()
            .unwrap();
        ino
    }

    async fn dead(&self) -> Vec<(SliceId, u32)> {
        let mut dead = self.client.dead_slices(&self.call, 100).await.unwrap();
        dead.sort();
        dead
    }

    async fn used(&self) -> (u64, u64) {
        let stat = self.client.statfs(&self.call, Ino::ROOT).await.unwrap();
        (stat.total_bytes - stat.free_bytes, stat.used_inodes)
    }
}

/// A removed file: into the trash, out of it, its data apart, its slices dead, forgotten.
async fn a_removed_file_goes_in_its_time<E: Engine>(engine: E) {
    let world = World::new(engine, 1).await;
    let (client, call) = (&world.client, &world.call);
    world.write(b"a", 0, 7).await;
    world.write(b"a", 3, 8).await;
    let copy = world.write(b"copy", 1, 9).await;
    let (kept, _) = client.lookup(call, Ino::ROOT, b"a").await.unwrap();
    client
        .copy_range(call, kept, 0, copy, 0, 1000)
        .await
        .unwrap();
    let dir = NewNode {
        kind: carafe_types::FileType::Directory,
        ..NewNode::default()
    };
    let (tree, _) = client.create(call, Ino::ROOT, b"tree", &dir).await.unwrap();
    client.unlink(call, Ino::ROOT, b"a").await.unwrap();
    client.rmdir(call, Ino::ROOT, b"tree").await.unwrap();
    world.pass(DAY);
    assert_eq!(client.expire_trash(call, 100).await.unwrap(), 0, "not yet");
    world.pass(4 * 3600);
    assert_eq!(client.expire_trash(call, 100).await.unwrap(), 2);
    assert_eq!(client.getattr(call, kept).await, Err(Error::NotFound));
    assert_eq!(client.getattr(call, tree).await, Err(Error::NotFound));
    assert!(
        client
            .readdir(call, Ino::TRASH, Cursor(0), 10, false)
            .await
            .unwrap()
            .entries
            .is_empty(),
        "the hour went, too"
    );
    assert_eq!(
        world.used().await,
        (CHUNK_SIZE + 4096, 1),
        "the copy is left"
    );
    assert_eq!(
        client.clean_deleted_files(call, 100).await.unwrap(),
        0,
        "an hour's grace"
    );
    world.pass(2 * 3600);
    assert_eq!(client.clean_deleted_files(call, 100).await.unwrap(), 1);
    assert_eq!(
        world.dead().await,
        [(SliceId(8), 1000)],
        "7 lives on in the copy"
    );
    client
        .forget_slices(call, &[(SliceId(8), 1000), (SliceId(7), 1000)])
        .await
        .unwrap();
    assert!(world.dead().await.is_empty());
    client.unlink(call, Ino::ROOT, b"copy").await.unwrap();
    world.pass(2 * DAY);
    client.expire_trash(call, 100).await.unwrap();
    world.pass(2 * 3600);
    client.clean_deleted_files(call, 100).await.unwrap();
    assert_eq!(world.dead().await, [(SliceId(7), 1000), (SliceId(9), 1000)]);
    assert_eq!(world.used().await, (0, 0));
}

/// A cut leaves slices behind the end: they go with the file.
async fn a_cut_files_slices_go_with_it<E: Engine>(engine: E) {
    let world = World::new(engine, 0).await;
    let (client, call) = (&world.client, &world.call);
    let ino = world.write(b"a", 5, 7).await;
    client
        .setattr(
            call,
            ino,
            &SetAttr {
                size: Some(1),
                ..SetAttr::default()
            },
        )
        .await
        .unwrap();
    client.unlink(call, Ino::ROOT, b"a").await.unwrap();
    world.pass(2 * 3600);
    assert_eq!(client.clean_deleted_files(call, 100).await.unwrap(), 1);
    assert_eq!(world.dead().await, [(SliceId(7), 1000)]);
}

/// A huge sparse file is cut without touching each chunk that it could have.
async fn a_huge_sparse_file_is_cut<E: Engine>(engine: E) {
    let world = World::new(engine, 0).await;
    let (client, call) = (&world.client, &world.call);
    let ino = world.write(b"a", 5, 7).await;
    world.write(b"a", 10_000_000, 8).await;
    let resize = |size| SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    client.setattr(call, ino, &resize(1)).await.unwrap();
    client
        .setattr(call, ino, &resize(20_000_000 * CHUNK_SIZE))
        .await
        .unwrap();
    for index in [5, 10_000_000] {
        let slices = client.read_chunk(call, ino, index).await.unwrap();
        let seen = carafe_types::overlay(&slices, 0, 2000);
        assert!(seen.iter().all(|segment| segment.id.is_hole()), "{index}");
    }
    assert!(client.read_chunk(call, ino, 6).await.unwrap().is_empty());
}

async fn a_dead_clients_session_is_cleaned<E: Engine>(engine: E) {
    let world = World::new(engine, 0).await;
    let client = &world.client;
    let session = client
        .new_session(&Call::internal(), &SessionInfo::default())
        .await
        .unwrap();
    let dead = Call {
        session,
        ..Call::internal()
    };
    let (ino, _, _) = client
        .create_open(&dead, Ino::ROOT, b"f", &NewNode::default(), true, false)
        .await
        .unwrap();
    let (other, _) = client
        .create(&dead, Ino::ROOT, b"g", &NewNode::default())
        .await
        .unwrap();
    client
        .flock(&dead, other, 1, LockKind::Write)
        .await
        .unwrap();
    client.unlink(&dead, Ino::ROOT, b"f").await.unwrap();
    for _ in 0..6 {
        world.pass(12);
        client
            .heartbeat(&world.call, world.call.session)
            .await
            .unwrap();
    }
    assert_eq!(client.clean_stale_sessions(&world.call).await.unwrap(), 1);
    assert_eq!(
        client.clean_stale_sessions(&world.call).await.unwrap(),
        0,
        "the lease is taken"
    );
    assert_eq!(client.getattr(&world.call, ino).await, Err(Error::NotFound));
    client
        .flock(&world.call, other, 1, LockKind::Write)
        .await
        .unwrap();
    assert_eq!(client.sessions(&world.call).await.unwrap().len(), 1);
}

async fn another_client_leaves_the_leased_work<E: Engine>(engine: E) {
    let world = World::new(engine, 1).await;
    let (client, call) = (&world.client, &world.call);
    world.write(b"a", 0, 7).await;
    client.unlink(call, Ino::ROOT, b"a").await.unwrap();
    world.pass(2 * DAY);
    // A peer took the hour.
    let ctx = client.ctx(call, Client::<E>::terms(call)).await.unwrap();
    let now = ctx.now;
    let taken = client
        .plan(Client::<E>::terms(call), move |reads| {
            crate::ops::sessions::take_lease(reads, &ctx, Counter::LastCleanupTrash, 3240)
        })
        .await;
    assert_eq!((taken, now.secs > 0), (Ok(true), true));
    assert_eq!(client.expire_trash(call, 100).await.unwrap(), 0);
    world.pass(3600);
    assert_eq!(client.expire_trash(call, 100).await.unwrap(), 1);
}

async fn a_new_hour_has_its_own_trash<E: Engine>(engine: E) {
    let world = World::new(engine, 1).await;
    let (client, call) = (&world.client, &world.call);
    for number in 0..3 {
        let name = format!("f{number}");
        world.write(name.as_bytes(), 0, 10 + number).await;
        world.write(b"target", 0, 20 + number).await;
        client
            .rename(
                call,
                Ino::ROOT,
                name.as_bytes(),
                Ino::ROOT,
                b"target",
                RenameFlags::None,
            )
            .await
            .unwrap();
        world.pass(3600);
    }
    assert_eq!(
        client
            .readdir(call, Ino::TRASH, Cursor(0), 10, false)
            .await
            .unwrap()
            .entries
            .len(),
        3
    );
}

/// What two clients list at once, each gives up: a slice that is also in use elsewhere
/// must lose one reference by it, not two.
async fn replaced_slices_are_given_up_once<E: Engine>(engine: E) {
    let world = World::new(engine, 1).await;
    let (client, call) = (&world.client, &world.call);
    let ino = world.write(b"f", 0, 7).await;
    let other = world.write(b"other", 0, 8).await;
    client
        .copy_range(call, ino, 0, other, 0, 1000)
        .await
        .unwrap();
    let compaction = Compaction {
        ino,
        index: 0,
        id: SliceId(9),
        front: vec![Slice::whole(0, SliceId(7), 1000)],
        keep: 0,
        merged: vec![Slice::whole(0, SliceId(9), 1000)],
    };
    assert_eq!(client.compact(call, &compaction).await, Ok(true));
    let listed = client
        .engine
        .delayed(Client::<E>::terms(call), i64::MAX, 10)
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    for _ in 0..2 {
        let key = listed[0].key;
        let plan = move |reads: &dyn Reads| drop_delayed(reads, key);
        client.plan(Client::<E>::terms(call), plan).await.unwrap();
    }
    assert!(world.dead().await.is_empty(), "the other file refers to it");
    assert_eq!(client.delayed_slices(call).await, Ok(Vec::new()));
}

async fn a_killed_clone_is_removed_after_a_day<E: Engine>(engine: E) {
    let world = World::new(engine, 1).await;
    let (client, call) = (&world.client, &world.call);
    let terms = Client::<E>::terms(call);
    let ctx = client.ctx(call, terms).await.unwrap();
    let place = client.tombstones(&ctx, terms).await.unwrap();
    let dir = NewNode {
        kind: carafe_types::FileType::Directory,
        ..NewNode::default()
    };
    let name = format!("clone-7-{}", ctx.now.secs);
    client
        .create(call, place, name.as_bytes(), &dir)
        .await
        .unwrap();
    world.pass(DAY - 1);
    assert_eq!(client.expire_trash(call, 100).await, Ok(0), "it may go on");
    world.pass(1);
    assert_eq!(client.expire_trash(call, 100).await, Ok(1));
}

/// A clock that jumps ahead finds all sessions expired; those whose clients live say so
/// before anything of theirs is taken.
async fn a_clock_that_jumps_ends_no_living_session<E: Engine>(engine: E) {
    let mut world = World::new(engine, 0).await;
    world.client.second_look = Duration::from_secs(1);
    let (client, call) = (&world.client, &world.call);
    let open = || async {
        let info = SessionInfo::default();
        client.new_session(call, &info).await.unwrap()
    };
    let (living, _dead) = (open().await, open().await);
    let owner = Call {
        session: living,
        ..Call::internal()
    };
    let node = NewNode::default();
    let (ino, _) = client.create(&owner, Ino::ROOT, b"f", &node).await.unwrap();
    client.flock(&owner, ino, 1, LockKind::Write).await.unwrap();
    world.pass(3600);
    client.heartbeat(call, call.session).await.unwrap();
    // Its client's clock did not jump.
    let expires = client.now().secs - 3500;
    let beat = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let extend = Mutation::ExtendSession {
            session: living,
            expires,
        };
        let terms = Client::<E>::terms(call);
        let extended = client.plan(terms, move |_| Planned::with((), vec![extend.clone()]));
        extended.await.unwrap();
    };
    let (ended, ()) = tokio::join!(client.clean_stale_sessions(call), beat);
    assert_eq!(ended, Ok(1), "the dead one");
    client.heartbeat(&owner, living).await.unwrap();
    let taken = client.flock(call, ino, 1, LockKind::Write).await;
    assert_eq!(taken, Err(Error::WouldBlock), "its lock holds");
}

/// A clock that goes back: sessions live on, what was removed waits for its time, and
/// work that was leased in the future is done.
async fn a_clock_that_goes_back_stops_nothing<E: Engine>(engine: E) {
    let world = World::new(engine, 1).await;
    let (client, call) = (&world.client, &world.call);
    world.pass(30 * DAY);
    client.heartbeat(call, call.session).await.unwrap();
    world.write(b"early", 0, 7).await;
    client.unlink(call, Ino::ROOT, b"early").await.unwrap();
    assert_eq!(
        client.expire_trash(call, 100).await,
        Ok(0),
        "the lease is taken"
    );
    world.clock.set_back(Duration::from_secs(30 * DAY));
    // As another client, which has no leases.
    client.leases.lock().clear();
    client.heartbeat(call, call.session).await.unwrap();
    assert_eq!(client.clean_stale_sessions(call).await, Ok(0));
    let ino = world.write(b"late", 0, 8).await;
    let attr = client.getattr(call, ino).await.unwrap();
    assert_eq!(attr.ctime, client.now(), "times are those of the clock");
    client.unlink(call, Ino::ROOT, b"late").await.unwrap();
    world.pass(DAY + 4 * 3600);
    assert_eq!(
        client.expire_trash(call, 100).await,
        Ok(1),
        "a day after the removal"
    );
    assert_eq!(client.getattr(call, ino).await, Err(Error::NotFound));
    world.pass(30 * DAY);
    assert_eq!(client.expire_trash(call, 100).await, Ok(1));
    assert_eq!(world.used().await, (0, 0));
}

macro_rules! on_all {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(crate::sqlite::open(&dir.path().join("meta.db")).unwrap()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_redis() {
                let redis = carafe_testkit::Redis::start();
                let engine = crate::redis::open(&redis.url(0), None, crate::ConnectOptions::default()).await.unwrap();
                super::$name(engine).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_etcd() {
                let url = carafe_testkit::Etcd::fresh_url();
                let engine = crate::kv::etcd::open(&url, None, crate::ConnectOptions::default()).await.unwrap();
                super::$name(engine).await;
            }
        }
    )*};
}

on_all! {
    a_removed_file_goes_in_its_time
    a_cut_files_slices_go_with_it
    a_huge_sparse_file_is_cut
    a_dead_clients_session_is_cleaned
    another_client_leaves_the_leased_work
    a_new_hour_has_its_own_trash
    replaced_slices_are_given_up_once
    a_killed_clone_is_removed_after_a_day
    a_clock_that_jumps_ends_no_living_session
    a_clock_that_goes_back_stops_nothing
}
