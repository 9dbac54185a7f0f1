//! A volume of a client, mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::{Place, drop_caches};
use crate::client::{self, Client, Name, Volume};
use crate::engine::Engine;
use crate::process::Usage;

/// How long a client may take to mount and to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// A fresh volume, mounted.
pub(crate) struct Mounted {
    client: Box<dyn Client>,
    url: String,
    scratch: TempDir,
    mount_point: PathBuf,
    process: Child,
    took: Duration,
}

impl Mounted {
    /// Formats and mounts a volume on what `engine` has for a new one.
    pub(crate) fn new(
        client: Box<dyn Client>,
        engine: &mut Engine,
        scratch: &Path,
    ) -> Result<Self> {
        let scratch = TempDir::new_in(scratch)?;
        for dir in ["bucket", "cache", "mount"] {
            fs::create_dir(scratch.path().join(dir))?;
        }
        let url = engine.fresh(scratch.path())?;
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
        Usage::of(self.process.id())
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
