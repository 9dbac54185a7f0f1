//! On a host, the supervisor itself opens the device, mounts, and unmounts.

use std::{
    collections::VecDeque,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use carafe_api::handover::{FromKeeper, FromPod};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Held, Readiness, Upstream};
use crate::failure::Failure;

/// How often a worker is asked again that could not commit all: the mount stays while
/// something would be lost with it.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// The host's side of a mount.
pub(crate) struct Host {
    mount_point: PathBuf,
    readiness: Readiness,
    orders: VecDeque<FromKeeper>,
    /// The worker was asked to commit all, and has not yet said that it has.
    releasing: bool,
    terminate: Signal,
    interrupt: Signal,
}

impl Host {
    /// For a mount that was made at `mount_point`.
    pub(crate) fn new(mount_point: PathBuf, readiness: Readiness) -> Result<Self, Failure> {
        write_process_file(&mount_point)?;
        Ok(Self {
            mount_point,
            readiness,
            orders: VecDeque::new(),
            releasing: false,
            terminate: signal(SignalKind::terminate()).map_err(Failure::system("watch SIGTERM"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::system("watch SIGINT"))?,
        })
    }

    /// Takes the mount away, also while files are open: they end with their users.
    fn detach(&self) {
        if let Err(error) = carafe_fuse::mount::detach(&self.mount_point) {
            tracing::debug!(%error, "the mount is gone already");
        }
    }
}

impl Upstream for Host {
    async fn next(&mut self, _held: &Held) -> Result<FromKeeper, Failure> {
        if let Some(order) = self.orders.pop_front() {
            return Ok(order);
        }
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = tokio::time::sleep(ASK_AGAIN), if self.releasing => {}
        }
        self.releasing = true;
        Ok(FromKeeper::Release)
    }

    async fn tell(&mut self, message: &FromPod, _region: Option<&OwnedFd>) -> Result<(), Failure> {
        match message {
            FromPod::Ready => self
                .readiness
                .ready(&self.mount_point.display().to_string()),
            FromPod::Failed { reason, .. } => {
                self.readiness.failed(reason);
                self.detach();
                return Err(Failure::Mount(reason.clone()));
            }
            FromPod::Released => {
                self.detach();
                self.orders.push_back(FromKeeper::End);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Host {
    /// A mount that nobody serves would hang whoever touches it.
    fn drop(&mut self) {
        self.detach();
        if let Ok(path) = process_file(&self.mount_point) {
            // The directory lies in a tmpfs: what stays goes with the next boot.
            let _ = fs::remove_file(path);
        }
    }
}

/// Where the supervisor of a mount point leaves its process id for `umount`.
pub(crate) fn process_file(mount_point: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(mount_point).map_err(Failure::system("mount point"))?;
    let name = absolute
        .display()
        .to_string()
        .trim_matches('/')
        .replace('%', "%25")
        .replace('/', "%2f");
    Ok(Path::new("/run/carafe").join(format!("{name}.pid")))
}

fn write_process_file(mount_point: &Path) -> Result<(), Failure> {
    let path = process_file(mount_point)?;
    let write = || {
        fs::create_dir_all("/run/carafe")?;
        fs::write(&path, std::process::id().to_string())
    };
    write().map_err(Failure::system(format!("write {}", path.display())))
}
