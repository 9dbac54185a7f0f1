//! A worker whose keeper is the test.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use carafe_api::{
    MountArguments, VolumeSecret,
    handover::{Attach, Bundle, Channel, FromKeeper, FromPod, Link, PROTOCOL},
};
use carafe_fuse::mount::MountOptions;
use carafe_types::Secret;

use crate::fixture::{CARAFE, Volume};

/// A worker with this test as its parent.
pub(crate) struct Worker {
    child: Child,
    pub(crate) link: Link,

    pub(crate) target: String,
}

impl Worker {
    pub(crate) async fn start(volume: &Volume) -> Self {
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
        let child = Command::new(CARAFE)
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

    pub(crate) async fn tell_secret(&self, url: &str) {
        let secret = Box::new(secret(url));
        let message = FromKeeper::Secret { secret };
        self.link.send(&message, &[]).await.unwrap();
    }

    /// Writes and syncs a file, on a thread of its own.
    pub(crate) fn writing(&self, name: &str) -> tokio::task::JoinHandle<std::io::Result<()>> {
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
