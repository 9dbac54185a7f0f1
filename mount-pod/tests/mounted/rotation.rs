//! The database's password changes under a mount, whose worker is told as a keeper
//! tells it.

use std::{path::Path, process::Stdio, time::Duration};

use carafe_api::{
    MountArguments, VolumeSecret,
    handover::{Attach, Bundle, Channel, FromKeeper, FromPod, Link, PROTOCOL},
};
use carafe_fuse::mount::MountOptions;
use carafe_types::Secret;

use crate::fixture::{CARAFE, Pair, Volume};

/// A worker with this test as its parent.
struct Worker {
    child: std::process::Child,
    link: Link,
    target: String,
}

impl Worker {
    async fn start(volume: &Volume) -> Self {
        let target = volume.new_directory();
        let device =
            carafe_fuse::mount::mount(Path::new(&target), &MountOptions::default()).unwrap();
        let bundle = Bundle {
            device: Some(device),
            ..Bundle::default()
        };
        let attach = Attach {
            protocol: PROTOCOL,
            epoch: 1,
            arguments: MountArguments {
                mount_point: target.clone(),
                ..MountArguments::default()
            },
            secret: secret(volume.url()),
            descriptors: bundle.counts(),
            ..Attach::default()
        };
        let (ours, theirs) = Channel::pair().unwrap();
        let child = std::process::Command::new(CARAFE)
            .arg("worker")
            .stdin(Stdio::from(theirs.into_fd()))
            .spawn()
            .unwrap();
        let link = Link::new(ours.into_fd()).unwrap();
        let message = FromKeeper::Attach(Box::new(attach));
        link.send(&message, &bundle.borrowed()).await.unwrap();
        loop {
            match link.receive::<FromPod>().await.unwrap().0 {
                FromPod::Ready => break,
                FromPod::Failed { reason, .. } => panic!("{reason}"),
                _ => {}
            }
        }
        Self {
            child,
            link,
            target,
        }
    }

    async fn tell_secret(&self, url: &str) {
        let secret = Box::new(secret(url));
        let message = FromKeeper::Secret { secret };
        self.link.send(&message, &[]).await.unwrap();
    }

    /// Writes and syncs a file, on a thread of its own.
    fn writing(&self, name: &str) -> tokio::task::JoinHandle<std::io::Result<()>> {
        let path = format!("{}/{name}", self.target);
        tokio::task::spawn_blocking(move || {
            std::fs::write(&path, name_of(&path))?;
            std::fs::File::open(&path)?.sync_all()
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let unmounted = carafe_fuse::mount::detach(Path::new(&self.target));
        if unmounted.is_err() || std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn secret(url: &str) -> VolumeSecret {
    VolumeSecret {
        metaurl: Secret::new(url),
        ..VolumeSecret::default()
    }
}

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
