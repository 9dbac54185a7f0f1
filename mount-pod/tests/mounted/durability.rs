//! What was acknowledged is not lost by an orderly end, and does not stay dirty for long.

use std::{
    fs::{self, File},
    io::Write,
    time::{Duration, Instant},
};

use carafe_api::handover::{FromKeeper, FromPod};

use crate::{
    fixture::{Pair, Volume},
    worker::Worker,
};

#[test]
fn sigterm_loses_nothing_that_write_acknowledged() {
    for pair in Pair::ALL {
        let mut volume = Volume::mounted(pair);
        let mut file = File::create(volume.path("log")).unwrap();
        let line = vec![b'x'; 10_000];
        for _ in 0..300 {
            file.write_all(&line).unwrap();
        }
        volume.terminate();
        drop(file);
        volume.mount(&[]);
        let back = fs::read(volume.path("log")).unwrap();
        assert_eq!(
            back.len(),
            3_000_000,
            "{pair:?}: every acknowledged byte is there"
        );
        assert!(
            back.iter().all(|byte| *byte == b'x'),
            "{pair:?}: and reads as written"
        );
    }
}

#[test]
fn dirty_data_reaches_the_store_within_its_age() {
    for pair in Pair::ALL {
        let mut writer = Volume::mounted(pair);
        let reader = writer.second_mount();
        let mut file = File::create(writer.path("slow")).unwrap();
        file.write_all(b"not flushed").unwrap();
        let deadline = Instant::now() + Duration::from_secs(15);
        while fs::read(format!("{reader}/slow")).unwrap_or_default() != b"not flushed" {
            assert!(
                Instant::now() < deadline,
                "{pair:?}: another client sees the bytes in 5 s and some"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn what_was_written_is_read_before_it_is_flushed() {
    let volume = Volume::mounted(Pair::SqliteFile);
    let mut file = File::create(volume.path("both")).unwrap();
    for round in 0..200u32 {
        file.write_all(&round.to_le_bytes()).unwrap();
        let read = fs::read(volume.path("both")).unwrap();
        assert_eq!(read.len(), (round as usize + 1) * 4, "round {round}");
        assert_eq!(read[read.len() - 4..], round.to_le_bytes(), "round {round}");
    }
}

#[test]
fn an_orderly_unmount_leaves_no_session_and_no_process() {
    for pair in Pair::ALL {
        let mut volume = Volume::mounted(pair);
        fs::write(volume.path("file"), b"bytes").unwrap();
        volume.unmount();
        let status = volume.status();
        assert_eq!(
            status["Sessions"].as_array().map(Vec::len),
            Some(0),
            "{pair:?}: {status:#}"
        );
        assert_eq!(
            status["Statistic"]["UsedInodes"], 1,
            "{pair:?}: one file beside the root: {status:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mount_is_released_when_all_is_committed_and_not_before() {
    let mut volume = Volume::formatted(Pair::RedisS3);
    let worker = Worker::start(&volume).await;
    fs::write(format!("{}/file", worker.target), b"early").unwrap();
    let mut file = File::options()
        .append(true)
        .open(format!("{}/file", worker.target))
        .unwrap();
    volume.pause_redis(Duration::from_secs(4));
    file.write_all(b" and late").unwrap();
    worker.link.send(&FromKeeper::Release, &[]).await.unwrap();
    let early = tokio::time::timeout(Duration::from_secs(2), released(&worker)).await;
    assert!(early.is_err(), "nothing can be committed yet");
    let late = tokio::time::timeout(Duration::from_mins(1), released(&worker)).await;
    late.expect("Redis goes on by itself");
    volume.mount(&[]);
    let read = fs::read(volume.path("file")).unwrap();
    assert_eq!(read, b"early and late", "before the file is closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_password_reaches_a_mount_that_waits_for_its_release() {
    let volume = Volume::formatted(Pair::RedisS3);
    let worker = Worker::start(&volume).await;
    let mut change = volume.change_password_soon("new-horse");
    let mut file = File::create(format!("{}/file", worker.target)).unwrap();
    file.write_all(b"dirty").unwrap();
    assert!(change.wait().unwrap().success());
    worker.link.send(&FromKeeper::Release, &[]).await.unwrap();
    worker
        .tell_secret(&volume.url_with_password("new-horse"))
        .await;
    let late = tokio::time::timeout(Duration::from_mins(1), released(&worker)).await;
    late.expect("the new password opens the database");
}

async fn released(worker: &Worker) {
    while worker.link.receive::<FromPod>().await.unwrap().0 != FromPod::Released {}
}
