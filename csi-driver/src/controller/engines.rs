//! File systems that the controller has open: one for each Secret, for as long as
//! it is used.
//!
//! Opening is the slow part (connections, the setting, a check of the store), so what
//! was opened is kept: a bounded number, each until it was idle for a while.

use std::{collections::HashMap, sync::Arc, time::Duration};

use carafe_api::{SecretError, VolumeSecret};
use carafe_meta::{Call, ConnectError, ConnectOptions, Meta};
use carafe_object::{ObjectError, ObjectStore, OpenError, OpenOptions, RetryPolicy};
use carafe_types::{Error, Format, FormatError};
use parking_lot::Mutex;
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout},
};

/// How many file systems are kept open.
const CAPACITY: usize = 64;
/// How long one is kept that nobody uses.
const IDLE: Duration = Duration::from_mins(5);
/// How long a check of the store is believed.
const STORE_TRUST: Duration = Duration::from_mins(1);

/// A file system that is open.
pub struct FileSystem {
    /// Its metadata.
    pub meta: Arc<dyn Meta>,
    /// Its setting, with the Secret's credentials.
    pub format: Format,
    /// Its store.
    pub store: Arc<dyn ObjectStore>,
    checked: Mutex<Option<Instant>>,
}

/// Why a file system cannot be opened. The texts go to the claim's events.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenFailure {
    /// The Secret cannot be used.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// The metadata engine cannot be had.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The database holds nothing, and may not be formatted now.
    #[error(
        "the database at {0} holds no file system: format it with `carafe format`, or let a StorageClass do so"
    )]
    Unformatted(String),
    /// The database holds another file system.
    #[error(
        "the database at {place} holds the file system {found:?}, the Secret names {wanted:?}: correct `name` or `metaurl` in the Secret"
    )]
    OtherName {
        /// The database.
        place: String,
        /// As the setting says.
        found: String,
        /// As the Secret says.
        wanted: String,
    },
    /// The bucket holds another volume's objects.
    #[error(
        "the store {0} already holds objects of {1:?} which this database knows nothing of: use another `name` or `bucket`"
    )]
    NotEmpty(String, String),
    /// The setting is not for this build.
    #[error("{0}")]
    Format(#[from] FormatError),
    /// The store's address cannot be used, or its kind is not built.
    #[error("{0}")]
    StoreOpen(#[from] OpenError),
    /// The store does not work.
    #[error("{0}")]
    Store(#[from] ObjectError),
    /// The engine failed.
    #[error("the metadata engine at {place}: {error}")]
    Meta {
        /// The engine.
        place: String,
        /// What it said.
        error: Error,
    },
    /// Nobody answered.
    #[error(
        "{what} did not answer within {seconds} s: check that it runs and can be reached from the controller"
    )]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
}

/// The open file systems.
pub struct Engines {
    patience: Duration,
    slots: Mutex<HashMap<[u8; 32], Arc<Slot>>>,
}

struct Slot {
    secret: VolumeSecret,
    used: Mutex<Instant>,
    cell: OnceCell<Arc<FileSystem>>,
}

impl Engines {
    /// Nothing is open yet; engine and store may take `patience` to answer.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            slots: Mutex::default(),
        }
    }

    /// The Secret's file system; formats it if it is new and `may_format`.
    pub async fn open(
        &self,
        secret: &VolumeSecret,
        may_format: bool,
    ) -> Result<Arc<FileSystem>, OpenFailure> {
        let slot = self.slot(secret);
        // Several calls with one Secret wait for one opening.
        let opened = slot
            .cell
            .get_or_try_init(|| self.connect(secret, may_format))
            .await;
        opened.cloned().inspect_err(|_| self.close(secret))
    }

    /// As [`Engines::open`], and makes sure that the store works.
    pub async fn open_checked(
        &self,
        secret: &VolumeSecret,
    ) -> Result<Arc<FileSystem>, OpenFailure> {
        let system = self.open(secret, true).await?;
        let trusted = system
            .checked
            .lock()
            .is_some_and(|when| when.elapsed() < STORE_TRUST);
        if !trusted {
            self.check(&system.store).await?;
            *system.checked.lock() = Some(Instant::now());
        }
        Ok(system)
    }

    /// Forgets a file system: the next call opens it anew.
    pub fn close(&self, secret: &VolumeSecret) {
        self.slots.lock().remove(&secret.fingerprint());
    }

    /// Closes those that nobody has used for a while.
    pub fn close_idle(&self) {
        self.slots
            .lock()
            .retain(|_, slot| slot.used.lock().elapsed() < IDLE);
    }

    /// The Secrets of all that is open.
    pub fn secrets(&self) -> Vec<VolumeSecret> {
        self.slots
            .lock()
            .values()
            .map(|slot| slot.secret.clone())
            .collect()
    }

    fn slot(&self, secret: &VolumeSecret) -> Arc<Slot> {
        let key = secret.fingerprint();
        let mut slots = self.slots.lock();
        if !slots.contains_key(&key) && slots.len() >= CAPACITY {
            let oldest = slots
                .iter()
                .min_by_key(|(_, slot)| *slot.used.lock())
                .map(|(key, _)| *key);
            oldest.and_then(|key| slots.remove(&key));
        }
        let new = || {
            Arc::new(Slot {
                secret: secret.clone(),
                used: Mutex::new(Instant::now()),
                cell: OnceCell::new(),
            })
        };
        let slot = slots.entry(key).or_insert_with(new).clone();
        *slot.used.lock() = Instant::now();
        slot
    }

    async fn connect(
        &self,
        secret: &VolumeSecret,
        may_format: bool,
    ) -> Result<Arc<FileSystem>, OpenFailure> {
        let options = ConnectOptions {
            timeout: self.patience,
        };
        let password = secret.meta_password();
        let connecting = carafe_meta::connect(secret.metaurl.expose(), password.as_ref(), options);
        let meta = self.within("the metadata engine", connecting).await??;
        let loaded = self
            .within("the metadata engine", meta.load(&self.call()))
            .await?;
        match loaded {
            Ok(format) => self.existing(secret, meta, format),
            Err(Error::NotFound) if may_format => self.format(secret, meta).await,
            Err(Error::NotFound) => Err(OpenFailure::Unformatted(meta.name())),
            Err(error) => Err(OpenFailure::Meta {
                place: meta.name(),
                error,
            }),
        }
    }

    fn existing(
        &self,
        secret: &VolumeSecret,
        meta: Arc<dyn Meta>,
        mut format: Format,
    ) -> Result<Arc<FileSystem>, OpenFailure> {
        format.check()?;
        if !secret.name.is_empty() && secret.name != format.name {
            return Err(OpenFailure::OtherName {
                place: meta.name(),
                found: format.name,
                wanted: secret.name.clone(),
            });
        }
        secret.apply_credentials(&mut format);
        let store = self.store(&format)?;
        Ok(Arc::new(FileSystem {
            meta,
            format,
            store,
            checked: Mutex::default(),
        }))
    }

    /// Makes a new file system: the store first, since a setting without a store is of
    /// no use, and a test object harms nobody.
    async fn format(
        &self,
        secret: &VolumeSecret,
        meta: Arc<dyn Meta>,
    ) -> Result<Arc<FileSystem>, OpenFailure> {
        let mut format = secret.new_format()?;
        if format.uuid.is_empty() {
            format.uuid = uuid::Uuid::new_v4().to_string();
        }
        format.check()?;
        let store = self.store(&format)?;
        self.check(&store).await?;
        if !self
            .within("the object store", carafe_object::is_empty(&store))
            .await??
        {
            return Err(OpenFailure::NotEmpty(store.describe(), format.name));
        }
        match self
            .within(
                "the metadata engine",
                meta.format(&self.call(), &format, false),
            )
            .await?
        {
            Ok(()) => {}
            // Somebody else formatted it in this moment.
            Err(Error::Exists) => {
                let theirs = self
                    .within("the metadata engine", meta.load(&self.call()))
                    .await?;
                let theirs = theirs.map_err(|error| OpenFailure::Meta {
                    place: meta.name(),
                    error,
                })?;
                return self.existing(secret, meta, theirs);
            }
            Err(error) => {
                return Err(OpenFailure::Meta {
                    place: meta.name(),
                    error,
                });
            }
        }
        self.within(
            "the object store",
            carafe_object::write_uuid(&store, &format.uuid),
        )
        .await??;
        tracing::info!(
            name = format.name,
            engine = meta.name(),
            "formatted a new file system"
        );
        Ok(Arc::new(FileSystem {
            meta,
            format,
            store,
            checked: Mutex::new(Some(Instant::now())),
        }))
    }

    fn store(&self, format: &Format) -> Result<Arc<dyn ObjectStore>, OpenFailure> {
        let retry = RetryPolicy {
            attempts: 3,
            deadline: self.patience,
            ..RetryPolicy::default()
        };
        Ok(carafe_object::open_with(
            format,
            OpenOptions {
                retry,
                ..OpenOptions::default()
            },
        )?)
    }

    async fn check(&self, store: &Arc<dyn ObjectStore>) -> Result<(), OpenFailure> {
        Ok(self
            .within("the object store", carafe_object::check(store))
            .await??)
    }

    /// A call of the controller, with its deadline.
    pub fn call(&self) -> Call {
        Call {
            deadline: Some(std::time::Instant::now() + self.patience),
            ..Call::internal()
        }
    }

    async fn within<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, OpenFailure> {
        let late = |_| OpenFailure::TimedOut {
            what,
            seconds: self.patience.as_secs(),
        };
        timeout(self.patience, work).await.map_err(late)
    }
}
