//! Directories that lines run in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::client::{self, Client, Name, Volume};
use crate::engine::Engine;

/// How long a client may take to mount and to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// A directory that a line runs in.
pub(crate) trait Place {
    /// Whose it is.
    fn name(&self) -> Name;
    /// The directory.
    fn dir(&self) -> &Path;
    /// Forgets all that was cached, here and in the kernel: what is read next comes from
    /// the store.
    fn cool(&mut self) -> Result<()>;
    /// The processes that serve it: their CPU time so far, and their memory.
    fn usage(&self) -> Usage;
    /// How long the last mount took until it answered.
    fn mount_time(&self) -> Option<Duration>;
}

/// What the processes of a client have used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time of user and kernel.
    pub(crate) cpu: Duration,
    /// Resident bytes.
    pub(crate) resident: u64,
}

/// A fresh volume, mounted.
pub(crate) struct Mounted {
    client: Box<dyn Client>,
    url: String,
    scratch: TempDir,
    mount_point: PathBuf,
    process: Child,
    took: Duration,
}

/// The machine's own file system.
pub(crate) struct Native(TempDir);

impl Native {
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        Ok(Self(TempDir::new_in(scratch)?))
    }
}

impl Place for Native {
    fn name(&self) -> Name {
        Name::Limit
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn cool(&mut self) -> Result<()> {
        drop_caches()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn mount_time(&self) -> Option<Duration> {
        None
    }
}

impl Mounted {
    /// Formats and mounts the `number`th volume of the engine.
    pub(crate) fn new(
        client: Box<dyn Client>,
        engine: &Engine,
        number: u32,
        scratch: &Path,
    ) -> Result<Self> {
        let scratch = TempDir::new_in(scratch)?;
        for dir in ["bucket", "cache", "mount"] {
            fs::create_dir(scratch.path().join(dir))?;
        }
        let url = engine.url(number, scratch.path());
        let mount_point = scratch.path().join("mount");
        let paths = Paths::below(scratch.path());
        client::run(&mut client.format(&paths.volume(&url, &mount_point)))?;
        let (process, took) = mount(client.as_ref(), &paths.volume(&url, &mount_point))?;
        Ok(Self {
            client,
            url,
            scratch,
            mount_point,
            process,
            took,
        })
    }

    fn end(&mut self) -> Result<()> {
        let paths = Paths::below(self.scratch.path());
        let volume = paths.volume(&self.url, &self.mount_point);
        client::run(&mut self.client.unmount(&volume))?;
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.process.kill()?;
                bail!("{:?} did not end after its unmount", self.client.name());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Place for Mounted {
    fn name(&self) -> Name {
        self.client.name()
    }

    fn dir(&self) -> &Path {
        &self.mount_point
    }

    fn cool(&mut self) -> Result<()> {
        self.end()?;
        let paths = Paths::below(self.scratch.path());
        fs::remove_dir_all(&paths.cache)?;
        fs::create_dir(&paths.cache)?;
        drop_caches()?;
        let volume = paths.volume(&self.url, &self.mount_point);
        (self.process, self.took) = mount(self.client.as_ref(), &volume)?;
        Ok(())
    }

    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for process in tree(self.process.id()) {
            usage.cpu += cpu_of(process).unwrap_or_default();
            usage.resident += resident_of(process).unwrap_or_default();
        }
        usage
    }

    fn mount_time(&self) -> Option<Duration> {
        Some(self.took)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("a mount is left: {error:#}");
            // By its number: it is this program's child.
            let _ = self.process.kill();
            let _ = rustix::mount::unmount(&self.mount_point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

struct Paths {
    bucket: PathBuf,
    cache: PathBuf,
    log: PathBuf,
}

impl Paths {
    fn below(scratch: &Path) -> Self {
        Self {
            bucket: scratch.join("bucket"),
            cache: scratch.join("cache"),
            log: scratch.join("log"),
        }
    }

    fn volume<'a>(&'a self, url: &'a str, mount_point: &'a Path) -> Volume<'a> {
        Volume {
            url,
            bucket: &self.bucket,
            cache: &self.cache,
            mount_point,
            log: &self.log,
        }
    }
}

/// Mounts, and answers how long it took until the root was another directory.
fn mount(client: &dyn Client, volume: &Volume<'_>) -> Result<(Child, Duration)> {
    use std::os::unix::fs::MetadataExt;
    let device = || fs::metadata(volume.mount_point).map(|meta| meta.dev());
    let before = device()?;
    let start = Instant::now();
    let mut process = client::start(&mut client.mount(volume), volume.log)?;
    while device().unwrap_or(before) == before {
        if process.try_wait()?.is_some() || start.elapsed() > PATIENCE {
            let log = fs::read_to_string(volume.log).unwrap_or_default();
            bail!("{:?} does not mount: {log}", client.name());
        }
        std::thread::sleep(PAUSE);
    }
    Ok((process, start.elapsed()))
}

/// Writes back and drops all cached pages and entries of this machine.
pub(crate) fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches needs root")
}

/// A process and its descendants.
fn tree(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let below = threads.into_iter().flatten().flatten().flat_map(|thread| {
        // Each thread lists the children that it started itself.
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let numbers = children
            .split_whitespace()
            .filter_map(|child| child.parse().ok());
        numbers.flat_map(tree).collect::<Vec<_>>()
    });
    std::iter::once(process).chain(below).collect()
}

fn cpu_of(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold spaces; utime and stime are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

fn resident_of(process: u32) -> Option<u64> {
    let memory = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = memory.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
