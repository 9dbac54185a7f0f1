//! Many at once.

use std::sync::Arc;

use carafe_meta::SetAttr;
use carafe_vfs::Config;

use crate::fixture::{Volume, pattern};

/// Each task owns a stripe of one file; all write, read back and flush at once, with
/// a pool that is too small for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stripes_of_one_file() {
    let volume = Volume::new().await;
    volume.disturb();
    let mount = Arc::new(volume.mount_with_pool(Config::default(), 64).await);
    let ino = mount.create("striped").await.ino;
    let tasks: Vec<_> = (0..8u64)
        .map(|task| tokio::spawn(stripe(Arc::clone(&mount), ino, task)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let file = mount.open(ino).await;
    for task in 0..8u64 {
        for round in 20..40u64 {
            let at = place(task, round);
            assert_eq!(
                mount.read(&file, at, 5000).await,
                pattern(task * 1000 + round, 5000)
            );
        }
    }
}

fn place(task: u64, round: u64) -> u64 {
    (round % 20) * 8 * 5000 + task * 5000
}

async fn stripe(mount: Arc<crate::fixture::Mount>, ino: carafe_types::Ino, task: u64) {
    let file = mount.open(ino).await;
    for round in 0..40 {
        let data = pattern(task * 1000 + round, 5000);
        mount.write(&file, place(task, round), &data).await.unwrap();
        assert_eq!(mount.read(&file, place(task, round), 5000).await, data);
        if round % 7 == 0 {
            mount.fsync(&file).await.unwrap();
        }
    }
    mount.close(file).await.unwrap();
}

/// Truncating to nothing and writing anew, against readers that must never see a mix
/// of two lengths, and a flusher that never rests.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn truncates_among_writes_and_flushes() {
    let volume = Volume::new().await;
    volume.disturb();
    let mount = Arc::new(volume.mount(Config::default()).await);
    let file = mount.create("rewritten").await;
    let (ino, handle) = (file.ino, file.handle);
    let flusher = tokio::spawn({
        let mount = Arc::clone(&mount);
        async move {
            loop {
                mount
                    .vfs
                    .fsync(&mount.call, ino, handle, false)
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    for round in 0..200u64 {
        // Long enough for some uploads to end and their commits to begin.
        tokio::time::sleep(std::time::Duration::from_micros(round * 977 % 7000)).await;
        let set = SetAttr {
            size: Some(0),
            ..SetAttr::default()
        };
        mount
            .vfs
            .setattr(&mount.call, ino, None, &set)
            .await
            .unwrap();
        let data = pattern(round, 3200 - round as usize);
        mount.write(&file, 0, &data).await.unwrap();
        assert_eq!(mount.read(&file, 0, 10_000).await, data, "round {round}");
        // A commit that was on its way must not come after the cut.
        if round % 3 == 0 {
            mount.fsync(&file).await.unwrap();
            assert_eq!(
                mount.read(&file, 0, 10_000).await,
                data,
                "round {round}, committed"
            );
        }
    }
    flusher.abort();
    assert!(flusher.await.unwrap_err().is_cancelled(), "no flush failed");
    mount.fsync(&file).await.unwrap();
    assert_eq!(mount.length(ino).await, 3001);
}

/// Small files made, written and closed by many tasks: commits come in groups.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn small_files_at_once() {
    let volume = Volume::new().await;
    let mount = Arc::new(volume.mount(Config::default()).await);
    let make = |task: u64| {
        let mount = Arc::clone(&mount);
        tokio::spawn(async move {
            for number in 0..25 {
                let file = mount.create(&format!("small-{task}-{number}")).await;
                mount.write(&file, 0, &pattern(task, 100)).await.unwrap();
                let ino = file.ino;
                mount.close(file).await.unwrap();
                let again = mount.open(ino).await;
                assert_eq!(mount.read(&again, 0, 200).await, pattern(task, 100));
                mount.close(again).await.unwrap();
            }
        })
    };
    let tasks: Vec<_> = (0..8).map(make).collect();
    for task in tasks {
        task.await.unwrap();
    }
}
