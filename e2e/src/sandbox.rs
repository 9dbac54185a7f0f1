//! Namespaces with one process that adopts all others.
//!
//! A sandbox has its own processes and mounts, and optionally its own network.
//! Its first process (`carafe-e2e sandbox-init`) does nothing but reap: when it
//! ends, the kernel ends everything inside, and mounts and network go with them.
//! So a sandbox is removed by its one recorded process, whatever became of the
//! program that made it.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use serde::{Deserialize, Serialize};

use crate::shell;

/// What `sandbox-init` shall set up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The sandbox's directory: its process record, its logs, its pid files.
    pub dir: PathBuf,
    /// Directories of the machine that the sandbox replaces by its own: the
    /// replacement has the same relative path below `dir`.
    pub covers: Vec<PathBuf>,
    /// Files of the machine that read as this text inside, and whose writers
    /// change nothing outside.
    pub files: Vec<(PathBuf, String)>,
    /// Whether the sandbox has a network of its own.
    pub network: bool,
}

/// A process that no reuse of its id can be mistaken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pid: i32,
    /// Clock ticks after boot, from /proc.
    started: u64,
}

impl Process {
    /// The process that has this id now.
    pub fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may itself hold spaces and parentheses.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, started })
    }

    /// The calling process.
    pub fn current() -> Result<Self> {
        Self::find(std::process::id() as i32)
            .context("cannot read /proc/self/stat; is /proc mounted?")
    }

    /// Whether it still runs.
    pub fn lives(&self) -> bool {
        Self::find(self.pid) == Some(*self)
    }

    /// The process's id.
    pub fn id(&self) -> i32 {
        self.pid
    }

    /// Ends it and waits until it is gone.
    pub fn end(&self) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("not a process id")?;
        if self.lives() {
            let _ = kill_process(pid, Signal::KILL);
        }
        shell::wait_until(
            &format!("end of process {}", self.pid),
            Duration::from_secs(30),
            || {
                ensure!(!self.lives(), "it still runs");
                Ok(())
            },
        )
    }
}

/// A running sandbox.
#[derive(Debug, Clone)]
pub struct Sandbox {
    dir: PathBuf,
    init: Process,
}

impl Sandbox {
    /// Makes the namespaces and starts the first process.
    pub fn start(spec: &Spec) -> Result<Self> {
        for cover in &spec.covers {
            fs::create_dir_all(replacement(&spec.dir, cover))?;
        }
        fs::create_dir_all(spec.dir.join("log"))?;
        fs::create_dir_all(spec.dir.join("pid"))?;
        let file = spec.dir.join("spec.json");
        fs::write(&file, serde_json::to_vec(spec)?)?;
        let mut unshare =
            shell::command("unshare", ["--mount", "--pid", "--propagation", "private"]);
        if spec.network {
            unshare.arg("--net");
        }
        unshare
            .arg("--")
            .arg(std::env::current_exe()?)
            .arg("sandbox-start")
            .arg(&file);
        shell::run(&mut unshare).context("cannot make namespaces; this needs root")?;
        let ready = spec.dir.join("ready");
        shell::wait_until("start of the sandbox", Duration::from_secs(10), || {
            ensure!(
                ready.exists(),
                "{}",
                shell::tail_of_file(&spec.dir.join("log/init"), 20)
            );
            Ok(())
        })?;
        Self::open(&spec.dir)?.context("the sandbox ended at once")
    }

    /// The sandbox in that directory, if it lives.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        let Ok(record) = fs::read(dir.join("init.json")) else {
            return Ok(None);
        };
        let init: Process = serde_json::from_slice(&record)?;
        Ok(init.lives().then(|| Self {
            dir: dir.to_owned(),
            init,
        }))
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its first process, as the machine numbers it.
    pub fn init(&self) -> Process {
        self.init
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.init.id().to_string(),
            "--mount",
            "--net",
            "--pid",
            "--",
            program,
        ]);
        command
    }

    /// Starts a program that outlives the caller; `log/<name>` gets its output.
    pub fn spawn(&self, name: &str, program: &str, args: &[String]) -> Result<()> {
        let script = "echo $$ >\"$1\"; log=$2; shift 2; exec \"$@\" >>\"$log\" 2>&1 </dev/null";
        let mut command = self.command("setsid");
        command.args(["--fork", "sh", "-c", script, "sh"]);
        command
            .arg(self.pid_file(name))
            .arg(self.log(name))
            .arg(program)
            .args(args);
        shell::run(&mut command).with_context(|| format!("cannot start {name}"))?;
        Ok(())
    }

    /// Ends a program started by [`Sandbox::spawn`], by its recorded id.
    pub fn stop(&self, name: &str, signal: &str) -> Result<()> {
        let pid = fs::read_to_string(self.pid_file(name))?;
        shell::run(self.command("kill").args(["-s", signal, pid.trim()]))?;
        shell::wait_until(&format!("end of {name}"), Duration::from_secs(30), || {
            let alive = shell::run(self.command("kill").args(["-0", pid.trim()])).is_ok();
            ensure!(!alive, "it still runs");
            Ok(())
        })
    }

    /// Where a program's output goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(name)
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.dir.join("pid").join(name)
    }
}

fn replacement(dir: &Path, cover: &Path) -> PathBuf {
    dir.join(cover.strip_prefix("/").unwrap_or(cover))
}

/// `carafe-e2e sandbox-start`: runs inside the new namespaces and starts the
/// process that becomes their first.
pub fn start_init(spec_file: &Path) -> Result<()> {
    let spec: Spec = serde_json::from_slice(&fs::read(spec_file)?)?;
    let log = fs::File::create(spec.dir.join("log/init"))?;
    let child = Command::new(std::env::current_exe()?)
        .arg("sandbox-init")
        .arg(spec_file)
        .current_dir("/")
        .arg0("carafe-sandbox")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let init = Process::find(child.id() as i32)
        .with_context(|| shell::tail_of_file(&spec.dir.join("log/init"), 20))?;
    fs::write(spec.dir.join("init.json"), serde_json::to_vec(&init)?)?;
    Ok(())
}

/// `carafe-e2e sandbox-init`: prepares the mounts, then reaps for ever.
pub fn run_init(spec_file: &Path) -> Result<()> {
    let spec: Spec = serde_json::from_slice(&fs::read(spec_file)?)?;
    rustix::process::setsid()?;
    // The starter shares these mounts: it looks us up in the /proc that the
    // mounts below replace.
    shell::wait_until(
        "record of the first process",
        Duration::from_secs(10),
        || {
            ensure!(spec.dir.join("init.json").exists(), "not written");
            Ok(())
        },
    )?;
    prepare_mounts(&spec)?;
    fs::write(spec.dir.join("ready"), "")?;
    loop {
        if rustix::process::wait(WaitOptions::empty()).is_err() {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn prepare_mounts(spec: &Spec) -> Result<()> {
    mount("proc", "/proc", "proc", MountFlags::empty(), None)?;
    leave_served_mounts(&fs::read_to_string("/proc/self/mountinfo")?);
    for cover in &spec.covers {
        let source = replacement(&spec.dir, cover);
        mount_bind(&source, cover).with_context(|| {
            format!("cannot mount {} over {}", source.display(), cover.display())
        })?;
    }
    for (number, (file, text)) in spec.files.iter().enumerate() {
        let source = spec.dir.join(format!("file{number}"));
        fs::write(&source, text)?;
        mount_bind(&source, file)
            .with_context(|| format!("cannot mount over {}", file.display()))?;
    }
    // Only now shared: each cover becomes a peer group of its own, and what
    // kubelet mounts does not appear a second time below the run's directory.
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::SHARED,
    )?;
    Ok(())
}

/// The machine's FUSE mounts were copied with all others: while a copy lives, their
/// servers do not learn that they were unmounted.
fn leave_served_mounts(table: &str) {
    for point in served_mounts(table) {
        // A mount that nobody serves any more may refuse; it is no worse than before.
        let _ = unmount(point, UnmountFlags::DETACH);
    }
}

fn served_mounts(table: &str) -> impl Iterator<Item = &str> {
    table.lines().rev().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let is_served = kind.starts_with("fuse.") || kind.starts_with("fuse ");
        mount.split(' ').nth(4).filter(|_| is_served)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_served_mounts_are_left() {
        let table = "21 1 0:20 / /proc rw - proc proc rw\n\
                     30 1 0:50 / /mnt/a rw,nosuid shared:7 - fuse.carafe carafe:x rw,user_id=0\n\
                     31 1 0:51 / /sys/fs/fuse/connections rw - fusectl fusectl rw\n";
        assert_eq!(served_mounts(table).collect::<Vec<_>>(), ["/mnt/a"]);
    }

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_id() {
        let own = Process::current().unwrap();
        assert!(own.lives());
        let other = Process {
            started: own.started + 1,
            ..own
        };
        assert!(!other.lives());
    }

    #[test]
    fn a_dead_process_does_not_live() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        child.wait().unwrap();
        assert_eq!(Process::find(pid), None);
    }
}
