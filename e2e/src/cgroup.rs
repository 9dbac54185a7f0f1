//! The nodes' control groups, in every v1 hierarchy.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::Run;
use crate::shell;

const ROOT: &str = "/sys/fs/cgroup";

/// Makes a node's group in every hierarchy.
pub fn create(run: &Run, node: &str) -> Result<()> {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        bail!(
            "this machine has cgroup v2 only, which this cluster is not made for yet: boot with systemd.unified_cgroup_hierarchy=0"
        );
    }
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(run.cgroup());
        create_group(&group)?;
        create_group(&group.join(node))?;
    }
    Ok(())
}

/// A cpuset without processors takes no process: it starts as its parent's.
fn create_group(group: &Path) -> Result<()> {
    fs::create_dir_all(group)
        .with_context(|| format!("cannot make the control group {}", group.display()))?;
    let parent = group.parent().context("a group has a parent")?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read(parent.join(file)) {
            fs::write(group.join(file), value)?;
        }
    }
    Ok(())
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(ROOT).context("no control groups at /sys/fs/cgroup")? {
        let entry = entry?;
        // cpu,cpuacct and the like are links to one hierarchy.
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes the run's groups. Their processes have ended, but the kernel may take
/// a moment to forget them.
pub fn remove(run: &Run) -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(run.cgroup());
        shell::wait_until("removal of control groups", Duration::from_secs(10), || {
            remove_tree(&group)
        })?;
    }
    Ok(())
}

fn remove_tree(group: &Path) -> Result<()> {
    let entries = match fs::read_dir(group) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group).with_context(|| format!("cannot remove {}", group.display()))
}
