//! `carafe umount`: takes a mount away and waits until its client has ended.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use crate::failure::Failure;

/// Unmount, and wait until all that was written is committed
#[derive(Args)]
pub(crate) struct UmountArgs {
    /// Where it is mounted
    mount_point: PathBuf,
    /// Unmount although files are open; their users see the volume until they close them
    #[arg(long, short)]
    force: bool,
    /// How long to wait for the client, in seconds
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

impl UmountArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let client = client_of(&self.mount_point)?;
        let unmounted = if self.force {
            carafe_fuse::mount::detach(&self.mount_point)
        } else {
            carafe_fuse::mount::unmount(&self.mount_point)
        };
        unmounted
            .map_err(|error| Failure::Mount(format!("{}: {error}", self.mount_point.display())))?;
        match client {
            Some(client) => wait_for(client, Duration::from_secs(self.timeout)),
            None => Ok(()),
        }
    }
}

/// The supervisor of a mount, as the file says that it keeps under /run.
fn client_of(mount_point: &Path) -> Result<Option<rustix::process::Pid>, Failure> {
    let path = crate::supervisor::process_file(mount_point)?;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    Ok(text
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw))
}

fn wait_for(client: rustix::process::Pid, patience: Duration) -> Result<(), Failure> {
    let Ok(process) = rustix::process::pidfd_open(client, rustix::process::PidfdFlags::empty())
    else {
        return Ok(());
    };
    let mut ends = [rustix::event::PollFd::new(
        &process,
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: 0,
    };
    match rustix::event::poll(&mut ends, Some(&limit)) {
        Ok(0) => Err(Failure::Mount(format!(
            "the client (process {client}) still writes back after {patience:?}"
        ))),
        Ok(_) => Ok(()),
        Err(errno) => Err(Failure::System("wait for the client".into(), errno.into())),
    }
}
