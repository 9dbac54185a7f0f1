//! A volume in a temporary directory, clients of it, and mounts that always end.
//!
//! A mount in this process hangs this process if its session does not answer; so a
//! **watchdog** aborts the kernel's connection when a test takes too long, which
//! turns a deadlock into errors.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use carafe_cache::NoCache;
use carafe_chunk::{BlockStore, BlockStoreConfig, JuiceFsLayout};
use carafe_fuse::{
    Notifier, Session, SessionConfig,
    mount::{self, MountOptions},
};
use carafe_meta::{Call, ConnectOptions, Meta, SessionInfo, connect};
use carafe_object::ObjectStore;
use carafe_state::{Config as RegionConfig, Region};
use carafe_types::{Format, SystemClock};
use carafe_vfs::{Config, Invalidator, NoInvalidator, Parts, Vfs};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const BLOCK: u32 = 1 << 20;
/// No test takes as long as this.
const PATIENCE: Duration = Duration::from_mins(1);

/// A formatted volume, and the runtime that its clients work on.
pub(crate) struct Volume {
    pub(crate) runtime: Runtime,
    store: Arc<dyn ObjectStore>,
    dir: TempDir,
}

impl Volume {
    pub(crate) fn new() -> Self {
        // The first test sets it; what a failed test logged is printed with it.
        let _already_set = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_test_writer()
            .try_init();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Files, since a store in memory would keep the pool's pages as its objects.
        let format = Format {
            name: "test".into(),
            uuid: "6d1f3a52-8a0b-4c8b-9a52-0b8f3a526d1f".into(),
            storage: "file".into(),
            bucket: format!("{}/objects/", dir.path().display()),
            block_size: BLOCK >> 10,
            trash_days: 0,
            ..Format::default()
        };
        let volume = Self {
            runtime,
            store: carafe_object::open(&format).unwrap(),
            dir,
        };
        let meta = volume.meta();
        volume
            .runtime
            .block_on(meta.format(&Call::internal(), &format, false))
            .unwrap();
        volume
    }

    fn meta(&self) -> Arc<dyn Meta> {
        let url = format!("sqlite3://{}/meta.db", self.dir.path().display());
        self.runtime
            .block_on(connect(&url, None, ConnectOptions::default()))
            .unwrap()
    }

    fn region(&self) -> Region {
        let info = SessionInfo::default();
        let session = self
            .runtime
            .block_on(self.meta().new_session(&Call::internal(), &info))
            .unwrap();
        let region = Region::create(RegionConfig::with_pool(32 << 20)).unwrap();
        region.set_session(session.0);
        region
    }

    /// Another client, without a mount.
    pub(crate) fn client(&self) -> Arc<Vfs> {
        self.vfs(self.region(), Arc::new(NoInvalidator))
    }

    fn vfs(&self, region: Region, invalidator: Arc<dyn Invalidator>) -> Arc<Vfs> {
        let store = Arc::clone(&self.store);
        let blocks = BlockStoreConfig {
            block_size: BLOCK,
            ..BlockStoreConfig::default()
        };
        let resolver = Arc::new(JuiceFsLayout { hash_prefix: false });
        let _entered = self.runtime.enter();
        let parts = Parts {
            meta: self.meta(),
            blocks: BlockStore::new(store, Arc::new(NoCache), resolver, blocks),
            region,
            clock: Arc::new(SystemClock),
            invalidator,
        };
        let config = Config {
            block_size: BLOCK,
            ..Config::default()
        };
        Arc::new(Vfs::new(parts, config))
    }

    /// A mount with its session.
    pub(crate) fn mounted(&self) -> Mounted<'_> {
        let mut mounted = self.unserved();
        mounted.serve();
        mounted
    }

    /// A mount whose kernel waits for its first answer.
    pub(crate) fn unserved(&self) -> Mounted<'_> {
        let point = self.dir.path().join("mount");
        fs::create_dir(&point).unwrap();
        let device = mount::mount(&point, &MountOptions::default()).unwrap();
        let watchdog = watch(connection(&point));
        let region = self.region();
        Mounted {
            volume: self,
            point,
            device,
            region,
            server: None,
            _watchdog: watchdog,
        }
    }
}

/// Whoever answers a mount's requests.
pub(crate) struct Server {
    pub(crate) session: Session,
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) notifier: Arc<Notifier>,
}

/// A mount. It ends with this value.
pub(crate) struct Mounted<'a> {
    volume: &'a Volume,
    point: PathBuf,
    device: OwnedFd,
    region: Region,
    server: Option<Server>,
    _watchdog: Sender<()>,
}

impl Mounted<'_> {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn device(&self) -> &OwnedFd {
        &self.device
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    fn serve(&mut self) {
        let device = || self.device.as_fd().try_clone_to_owned().unwrap();
        let notifier = Arc::new(Notifier::new(device()));
        let vfs = self
            .volume
            .vfs(self.region.clone(), Arc::clone(&notifier) as _);
        let recovery = self.region.recover();
        self.volume.runtime.block_on(vfs.adopt(recovery)).unwrap();
        let (runtime, region) = (self.volume.runtime.handle().clone(), self.region.clone());
        let config = SessionConfig {
            threads: 4,
            ..Default::default()
        };
        let (for_session, told) = (Arc::clone(&vfs), Arc::clone(&notifier));
        let session =
            Session::start(vec![device()], region, for_session, told, runtime, config).unwrap();
        self.server = Some(Server {
            session,
            vfs,
            notifier,
        });
    }

    /// Stops reading requests: what applications ask from now on waits in the kernel.
    pub(crate) fn freeze(&mut self) {
        let server = self.server.take().unwrap();
        self.volume.runtime.block_on(server.session.stop());
    }

    /// Serves with all that a successor has: the device and the region.
    pub(crate) fn resume(&mut self) {
        let region = self.region.fd().try_clone_to_owned().unwrap();
        self.region = Region::attach(region).unwrap();
        self.serve();
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let id = connection(&self.point);
        mount::detach(&self.point).unwrap();
        match self.server.take() {
            Some(server) => {
                let deadline = Instant::now() + Duration::from_secs(20);
                let drained = self.volume.runtime.block_on(server.vfs.drain(deadline));
                self.volume.runtime.block_on(server.session.stop());
                assert!(drained.is_ok() || std::thread::panicking(), "{drained:?}");
            }
            None => abort(&id),
        }
    }
}

/// The kernel's number of the connection behind a mount point.
fn connection(point: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = point.display().to_string();
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some(&point))
        .unwrap();
    line.split(' ')
        .nth(2)
        .unwrap()
        .split(':')
        .next_back()
        .unwrap()
        .to_owned()
}

/// Aborts the connection when the returned sender lives longer than a test may.
fn watch(id: String) -> Sender<()> {
    let (ended, end) = channel();
    std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the test takes too long: the mount's connection is aborted");
            abort(&id);
        }
    });
    ended
}

/// Through a fusectl of our own: the host's may not be mounted.
fn abort(id: &str) {
    let control = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", control.path(), "fusectl", flags, None).unwrap();
    // The connection may have ended by itself.
    let _ = fs::write(control.path().join(id).join("abort"), "1");
    rustix::mount::unmount(control.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
}
