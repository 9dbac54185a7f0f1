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

/// A file system as the Secret describes it, before anybody knows whether it is there.
struct Draft {
    format: Format,
    store: Arc<dyn ObjectStore>,
    state: StoreState,
}

/// What a draft's store said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreState {
    /// It works and holds nothing.
    Empty,
    /// It works and holds objects.
    Used,
    /// The bucket is still to be made.
    NoBucket,
}

impl Draft {
    /// Whether the check of the draft's store says that `format`'s works, too.
    fn checked(&self, format: &Format) -> bool {
        let place = |format: &Format| (format.storage.clone(), format.bucket.clone());
        let account = |format: &Format| {
            let Format {
                access_key,
                secret_key,
                session_token,
                ..
            } = format.clone();
            (access_key, secret_key, session_token)
        };
        self.state != StoreState::NoBucket
            && place(&self.format) == place(format)
            && account(&self.format) == account(format)
    }
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
        let opening = slot
            .cell
            .get_or_try_init(|| self.connect(secret, may_format));
        // Those before this call may have failed one after the other.
        let opened = match timeout(self.patience * 4, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(OpenFailure::TimedOut {
                what: "the file system",
                seconds: self.patience.as_secs() * 4,
            }),
        };
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

    /// Database and store are asked at once: they know nothing of each other.
    async fn connect(
        &self,
        secret: &VolumeSecret,
        may_format: bool,
    ) -> Result<Arc<FileSystem>, OpenFailure> {
        if !may_format {
            return match self.load(secret).await? {
                (meta, Some(format)) => self.existing(secret, meta, format, None),
                (meta, None) => Err(OpenFailure::Unformatted(meta.name())),
            };
        }
        let (loaded, draft) = tokio::join!(self.load(secret), self.draft(secret));
        match loaded? {
            (meta, Some(format)) => self.existing(secret, meta, format, draft.ok()),
            (meta, None) => self.format(secret, meta, draft?).await,
        }
    }

    async fn load(
        &self,
        secret: &VolumeSecret,
    ) -> Result<(Arc<dyn Meta>, Option<Format>), OpenFailure> {
        let options = ConnectOptions {
            timeout: self.patience,
            sentinel_password: secret.sentinel_password(),
        };
        let password = secret.meta_password();
        let connecting = carafe_meta::connect(secret.metaurl.expose(), password.as_ref(), options);
        let meta = self.within("the metadata engine", connecting).await??;
        match self.setting(&meta).await {
            Ok(format) => Ok((meta, Some(format))),
            Err(OpenFailure::Meta {
                error: Error::NotFound,
                ..
            }) => Ok((meta, None)),
            Err(error) => Err(error),
        }
    }

    async fn setting(&self, meta: &Arc<dyn Meta>) -> Result<Format, OpenFailure> {
        let call = self.call();
        let loaded = self.within("the metadata engine", meta.load(&call)).await?;
        loaded.map_err(|error| OpenFailure::Meta {
            place: meta.name(),
            error,
        })
    }

    /// What the Secret alone says about a file system, and its store.
    async fn draft(&self, secret: &VolumeSecret) -> Result<Draft, OpenFailure> {
        let mut format = secret.new_format()?;
        if format.uuid.is_empty() {
            format.uuid = uuid::Uuid::new_v4().to_string();
        }
        format.check()?;
        let store = self.store(&format)?;
        let state = match self
            .within("the object store", carafe_object::is_empty(&store))
            .await?
        {
            // The check would make it, which has time until the database has answered.
            Err(ObjectError::NoBucket(_)) => StoreState::NoBucket,
            Err(error) => return Err(error.into()),
            Ok(is_empty) => {
                self.check(&store).await?;
                if is_empty {
                    StoreState::Empty
                } else {
                    StoreState::Used
                }
            }
        };
        Ok(Draft {
            format,
            store,
            state,
        })
    }

    fn existing(
        &self,
        secret: &VolumeSecret,
        meta: Arc<dyn Meta>,
        mut format: Format,
        draft: Option<Draft>,
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
        let checked = draft.is_some_and(|draft| draft.checked(&format));
        let store = self.store(&format)?;
        Ok(Arc::new(FileSystem {
            meta,
            format,
            store,
            checked: Mutex::new(checked.then(Instant::now)),
        }))
    }

    /// Makes a new file system. Its store works: a setting without one is of no use.
    async fn format(
        &self,
        secret: &VolumeSecret,
        meta: Arc<dyn Meta>,
        draft: Draft,
    ) -> Result<Arc<FileSystem>, OpenFailure> {
        let Draft {
            format,
            store,
            state,
        } = draft;
        match state {
            StoreState::Empty => {}
            StoreState::NoBucket => self.check(&store).await?,
            StoreState::Used => return Err(OpenFailure::NotEmpty(store.describe(), format.name)),
        }
        let call = self.call();
        let formatting = meta.format(&call, &format, false);
        match self.within("the metadata engine", formatting).await? {
            Ok(()) => {}
            // Somebody else formatted it in this moment.
            Err(Error::Exists) => {
                let theirs = self.setting(&meta).await?;
                return self.existing(secret, meta, theirs, None);
            }
            Err(error) => {
                return Err(OpenFailure::Meta {
                    place: meta.name(),
                    error,
                });
            }
        }
        let naming = carafe_object::write_uuid(&store, &format.uuid);
        // For people and for the peer's tools; the file system works without.
        if let Ok(Err(error)) = self.within("the object store", naming).await {
            tracing::warn!(name = format.name, %error, "the UUID was not written to the store");
        }
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
