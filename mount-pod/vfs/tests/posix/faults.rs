//! What happens when the store fails, hangs, or the pool is full.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use carafe_types::Error;
use carafe_vfs::Config;

use crate::fixture::{BLOCK, PAGE, Volume, pattern};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsync_tells_of_a_store_that_fails_and_nothing_is_lost() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let file = mount.create("stubborn").await;
    volume.store.fail_puts.store(true, Ordering::SeqCst);
    let data = pattern(3, 2 * BLOCK as usize + 9);
    mount.write(&file, 0, &data).await.unwrap();
    assert!(matches!(mount.fsync(&file).await, Err(Error::Io(_))));
    assert!(
        matches!(mount.fsync(&file).await, Err(Error::Io(_))),
        "still failing, still told"
    );
    assert_eq!(mount.read(&file, 0, data.len()).await, data);
    volume.store.fail_puts.store(false, Ordering::SeqCst);
    mount.fsync(&file).await.unwrap();
    assert_eq!(mount.read(&file, 0, data.len()).await, data);
    mount.close(file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_wait_while_the_pool_is_full() {
    let volume = Volume::new().await;
    let mount = volume.mount_with_pool(Config::default(), 32).await;
    let file = mount.create("large").await;
    // Much more than the pool, in pieces that never make a full block in it at once.
    for round in 0..40u64 {
        let data = pattern(round, 30_000);
        assert_eq!(
            mount.write(&file, round * 40_000, &data).await.unwrap(),
            30_000
        );
    }
    for round in 0..40u64 {
        assert_eq!(
            mount.read(&file, round * 40_000, 30_000).await,
            pattern(round, 30_000)
        );
    }
    mount.close(file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_larger_than_the_pool_goes_through() {
    let volume = Volume::new().await;
    let mount = volume.mount_with_pool(Config::default(), 16).await;
    let file = mount.create("huge").await;
    let data = pattern(5, 40 * PAGE as usize);
    assert_eq!(mount.write(&file, 0, &data).await.unwrap(), data.len());
    assert_eq!(mount.read(&file, 0, data.len()).await, data);
    mount.close(file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_before_a_hung_store_ends_in_an_error_in_time() {
    let volume = Volume::new().await;
    let config = Config {
        write_wait: Duration::from_millis(300),
        ..Config::default()
    };
    let mount = volume.mount_with_pool(config, 16).await;
    let file = mount.create("stuck").await;
    volume.store.hang_puts.store(true, Ordering::SeqCst);
    assert_eq!(
        mount
            .write(&file, 0, &pattern(1, 16 * PAGE as usize))
            .await
            .unwrap(),
        16 * PAGE as usize
    );
    let began = Instant::now();
    assert!(matches!(
        mount.write(&file, 1 << 20, b"more").await,
        Err(Error::Io(_))
    ));
    assert!(began.elapsed() < Duration::from_secs(2));
    volume.store.hang_puts.store(false, Ordering::SeqCst);
    mount.write(&file, 1 << 20, b"more").await.unwrap();
    mount.close(file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_discarded_leaves_no_object() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let file = mount.create("cut").await;
    mount
        .write(&file, 0, &pattern(1, 3 * BLOCK as usize))
        .await
        .unwrap();
    let set = carafe_meta::SetAttr {
        size: Some(0),
        ..carafe_meta::SetAttr::default()
    };
    mount
        .vfs
        .setattr(&mount.call, file.ino, None, &set)
        .await
        .unwrap();
    mount.fsync(&file).await.unwrap();
    let mut left = 1;
    for _ in 0..200 {
        let page = carafe_object::ObjectStore::list(&*volume.store, "", "", 100)
            .await
            .unwrap();
        left = page.objects.len();
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_commits_all_or_says_what_it_did_not() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let files = [mount.create("one").await, mount.create("two").await];
    for file in &files {
        mount.write(file, 0, b"acknowledged").await.unwrap();
    }
    volume.store.hang_puts.store(true, Ordering::SeqCst);
    let soon = Instant::now() + Duration::from_millis(100);
    assert!(matches!(
        mount.vfs.drain(soon).await,
        Err(Error::TimedOut(_))
    ));
    volume.store.hang_puts.store(false, Ordering::SeqCst);
    mount
        .vfs
        .drain(Instant::now() + Duration::from_secs(10))
        .await
        .unwrap();
    for file in &files {
        let attr = volume
            .meta
            .getattr(&carafe_meta::Call::internal(), file.ino)
            .await
            .unwrap();
        assert_eq!(attr.length, 12);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsync_tells_of_an_engine_that_fails_and_nothing_is_lost() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let file = mount.create("patient").await;
    volume.mood.fail.store(true, Ordering::SeqCst);
    mount.write(&file, 0, b"kept").await.unwrap();
    assert!(matches!(mount.fsync(&file).await, Err(Error::Io(_))));
    assert_eq!(mount.read(&file, 0, 10).await, b"kept");
    volume.mood.fail.store(false, Ordering::SeqCst);
    // The batch is sent again by itself.
    while mount.fsync(&file).await.is_err() {}
    let ino = file.ino;
    mount.close(file).await.unwrap();
    assert_eq!(mount.length(ino).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_done_once() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let file = mount.create("once").await;
    volume.mood.lose_answers.store(2, Ordering::SeqCst);
    mount.write(&file, 0, b"only once").await.unwrap();
    while mount.fsync(&file).await.is_err() {}
    let list = volume
        .meta
        .read_chunk(&carafe_meta::Call::internal(), file.ino, 0)
        .await
        .unwrap();
    assert_eq!(
        (list.len(), volume.mood.commits.load(Ordering::SeqCst)),
        (1, 3)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_write_is_told_once_and_the_file_goes_on() {
    let volume = Volume::new().await;
    let (own, node) = (
        carafe_meta::Call::internal(),
        carafe_meta::NewNode {
            kind: carafe_types::FileType::Directory,
            mode: 0o755,
            ..carafe_meta::NewNode::default()
        },
    );
    let (dir, _) = volume
        .meta
        .create(&own, carafe_types::Ino::ROOT, b"small", &node)
        .await
        .unwrap();
    let quota = carafe_meta::Quota {
        max_bytes: 64 << 10,
        max_inodes: 0,
    };
    volume.meta.set_quota(&own, dir, quota).await.unwrap();
    // A client learns of quotas when its session begins.
    let mount = volume.mount(Config::default()).await;
    let call = &mount.call;
    let made = mount
        .vfs
        .create(call, dir, b"f", 0o644, 0, carafe_vfs::OpenFlags::RDWR)
        .await
        .unwrap();
    let file = crate::fixture::File {
        ino: made.entry.ino,
        handle: made.opened.handle,
    };
    mount.write(&file, 0, &pattern(1, 200_000)).await.unwrap();
    assert_eq!(mount.fsync(&file).await, Err(Error::QuotaExceeded));
    assert_eq!(
        mount.fsync(&file).await,
        Ok(()),
        "told once, nothing is left to flush"
    );
    assert_eq!(mount.length(file.ino).await, 0);
    mount.write(&file, 0, b"fits").await.unwrap();
    mount.close(file).await.unwrap();
}

/// One batch is tried again and again while the engine fails: files behind it are told,
/// too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fsync_is_told_of_an_engine_that_fails() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let first = mount.create("first").await;
    let behind = mount.create("behind").await;
    volume.mood.fail.store(true, Ordering::SeqCst);
    mount.write(&first, 0, b"kept").await.unwrap();
    assert!(matches!(mount.fsync(&first).await, Err(Error::Io(_))));
    mount.write(&behind, 0, b"kept, too").await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(15), mount.fsync(&behind)).await;
    assert!(matches!(told, Ok(Err(Error::Io(_)))), "{told:?}");
    volume.mood.fail.store(false, Ordering::SeqCst);
    while mount.fsync(&behind).await.is_err() {}
    let ino = behind.ino;
    mount.close(behind).await.unwrap();
    mount.close(first).await.unwrap();
    assert_eq!(mount.length(ino).await, 9);
}
