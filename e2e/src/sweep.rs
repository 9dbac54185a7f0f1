//! Clusters whose owner has died: found by the record in their directory, and
//! removed. One that `make up` left has no owner and is never stale.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cluster;
use crate::run::Run;
use crate::sandbox::Process;
use crate::shell;

/// Removes every stale cluster and says which.
pub fn sweep() -> Result<()> {
    for entry in fs::read_dir("/tmp")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_prefix("carafe-")) else {
            continue;
        };
        let Ok(run) = Run::new(id) else { continue };
        if is_stale(&run) {
            println!("sweep: removing the cluster {id}, whose owner has ended");
            remove(&run)?;
        }
    }
    Ok(())
}

/// Not without an owner's record: the directory may be somebody else's.
fn is_stale(run: &Run) -> bool {
    let Ok(record) = fs::read(run.path("owner.json")) else {
        return false;
    };
    serde_json::from_slice::<Process>(&record).is_ok_and(|owner| !owner.lives())
}

/// Removes a cluster once, however many processes notice that it is stale.
fn remove(run: &Run) -> Result<()> {
    let Ok(dir) = fs::File::open(run.dir()) else {
        return Ok(());
    };
    flock(&dir, FlockOperation::LockExclusive)?;
    cluster::down(run)
}

/// `carafe-e2e reap`: waits until the owner has ended, however it ends, and
/// removes its cluster.
pub fn reap(run: &Run, owner: Process) -> Result<()> {
    let pid = Pid::from_raw(owner.id()).context("not a process id")?;
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
        && owner.lives()
    {
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None)?;
    }
    remove(run)
}

/// Starts a process that outlives the caller and reaps.
pub fn start_reaper(run: &Run, owner: Process) -> Result<()> {
    let mut setsid = shell::command("setsid", ["--fork"]);
    setsid.arg(std::env::current_exe()?).args([
        "reap",
        run.id(),
        "--owner",
        &owner.id().to_string(),
    ]);
    setsid
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(())
}
