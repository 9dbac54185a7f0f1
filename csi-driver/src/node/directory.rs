//! Waiting for a directory that kubelet makes, by inotify on its nearest ancestor
//! that exists.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Where kubelet puts an emptyDir of a pod.
pub(super) fn empty_dir(kubelet_dir: &Path, pod_uid: &str, volume: &str) -> PathBuf {
    let pod = kubelet_dir.join("pods").join(pod_uid);
    pod.join("volumes/kubernetes.io~empty-dir").join(volume)
}

/// Waits until `path` is a directory. Cancel safe.
pub(super) async fn wait_for(path: &Path) -> io::Result<()> {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let inotify = watch_descriptor(inotify)?;
    loop {
        let Some(ancestor) = path.ancestors().skip(1).find(|ancestor| ancestor.is_dir()) else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "not even the root directory is there",
            ));
        };
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        let watch = match inotify::add_watch(inotify.get_ref(), ancestor, flags) {
            Ok(watch) => watch,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        // Looked at only now, so nothing made in between is missed.
        if path.is_dir() {
            return Ok(());
        }
        if !next_is_there(ancestor, path) {
            wait_for_event(&inotify).await?;
        }
        let _ = inotify::remove_watch(inotify.get_ref(), watch);
    }
}

/// Whether the next part of `path` below `ancestor` was made meanwhile.
fn next_is_there(ancestor: &Path, path: &Path) -> bool {
    let next = path
        .ancestors()
        .find(|below| below.parent() == Some(ancestor));
    next.is_some_and(Path::is_dir)
}

async fn wait_for_event(inotify: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut ready = inotify.readable().await?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(inotify.get_ref(), &mut buffer);
    loop {
        match events.next() {
            Ok(_) => {}
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    ready.clear_ready();
    Ok(())
}

#[expect(
    deprecated,
    reason = "an owned descriptor is what the deprecation asks for"
)]
fn watch_descriptor(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(inotify, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_directory_is_found_when_it_is_made_level_by_level() {
        let root = tempfile::tempdir().unwrap();
        let path = empty_dir(root.path(), "uid", "keeper");
        let waiting = {
            let path = path.clone();
            tokio::spawn(async move { wait_for(&path).await })
        };
        for ancestor in path
            .ancestors()
            .take(5)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
            std::fs::create_dir_all(ancestor).unwrap();
        }
        tokio::time::timeout(Duration::from_secs(5), waiting)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn many_races_with_its_maker_are_won() {
        for _ in 0..50 {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("a/b/c/d");
            let made = path.clone();
            let maker = std::thread::spawn(move || std::fs::create_dir_all(made).unwrap());
            tokio::time::timeout(Duration::from_secs(5), wait_for(&path))
                .await
                .unwrap()
                .unwrap();
            maker.join().unwrap();
        }
    }
}
