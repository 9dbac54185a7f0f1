//! The database's password changes under a mount, whose worker is told as a keeper
//! tells it.

use std::time::Duration;

use crate::{
    fixture::{Pair, Volume},
    worker::Worker,
};

async fn done(writing: tokio::task::JoinHandle<std::io::Result<()>>) {
    let patience = Duration::from_secs(25);
    let written = tokio::time::timeout(patience, writing).await;
    written.expect("it ends").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_database_changes_before_the_secret() {
    let volume = Volume::formatted(Pair::RedisS3);
    let worker = Worker::start(&volume).await;
    done(worker.writing("before")).await;
    volume.change_password("new-horse");
    let writing = worker.writing("meanwhile");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!writing.is_finished(), "it waits for the new password");
    worker
        .tell_secret(&volume.url_with_password("new-horse"))
        .await;
    done(writing).await;
    done(worker.writing("after")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_secret_changes_before_the_database() {
    let volume = Volume::formatted(Pair::RedisS3);
    let worker = Worker::start(&volume).await;
    worker
        .tell_secret(&volume.url_with_password("new-horse"))
        .await;
    done(worker.writing("before")).await;
    volume.change_password("new-horse");
    done(worker.writing("after")).await;
}
