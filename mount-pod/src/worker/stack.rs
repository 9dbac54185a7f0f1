//! All that a mount is made of, from the engine to the file system.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use carafe_api::{
    AtimeMode, Identity, MountArguments, MountOptions,
    handover::{Attach, Bundle},
};
use carafe_chunk::{BlockStore, BlockStoreConfig, JuiceFsLayout};
use carafe_fuse::{Notifier, Session, SessionConfig};
use carafe_meta::{Call, Meta, NewNode, SessionInfo, check_path};
use carafe_object::{Deadlines, ObjectStore, OpenOptions, RetryPolicy};
use carafe_state::{Config as RegionConfig, Region};
use carafe_types::{Clock, Error, FileType, Format, Ino, SessionId, SystemClock, Timestamp};
use carafe_vfs::{Atime, Parts, Squash, Vfs};

use super::{cache, credentials::Rotating};
use crate::{
    engine::{SESSION_VERSION, connect_with, load, warnings},
    failure::Failure,
};

/// How long the end of a session may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// The assembled parts.
pub(super) struct Stack {
    pub(super) meta: Arc<dyn Meta>,
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) region: Region,
    pub(super) vfs: Arc<Vfs>,
    pub(super) credentials: Rotating,
    pub(super) session: SessionId,
    /// What the session says of itself.
    pub(super) info: SessionInfo,
    /// The directory that is the mount's root.
    pub(super) root: Ino,
    /// The volume has access control lists.
    acls: bool,
    notifier: Arc<Notifier>,
}

impl Stack {
    /// Connects and assembles; nothing is served yet. Takes region and caches out
    /// of the bundle.
    pub(super) async fn assemble(attach: &Attach, bundle: &mut Bundle) -> Result<Self, Failure> {
        let arguments = &attach.arguments;
        let meta = connect_with(&attach.secret).await?;
        for warning in warnings(meta.as_ref()).await? {
            tracing::warn!("{warning}");
        }
        let setting = load(meta.as_ref()).await?;
        let mut format = setting.clone();
        attach.secret.apply_credentials(&mut format);
        let objects = open_store(&format, arguments)?;
        let region = region(bundle.region.take(), arguments)?;
        let root = root(meta.as_ref(), arguments).await?;
        let clock = Arc::new(SystemClock);
        let info = session_info(arguments, clock.now());
        let session = session(meta.as_ref(), &region, &info).await?;
        let device = bundle
            .device
            .as_ref()
            .ok_or_else(|| Failure::Mount("no device was handed over".into()))?;
        let notifier = Arc::new(Notifier::new(
            device
                .try_clone()
                .map_err(Failure::system("duplicate the device"))?,
        ));
        let caches = cache::open(arguments, std::mem::take(&mut bundle.caches), &format).await?;
        let layout = Arc::new(JuiceFsLayout {
            hash_prefix: format.hash_prefix,
        });
        let parts = Parts {
            meta: Arc::clone(&meta),
            blocks: BlockStore::new(
                Arc::clone(&objects),
                caches,
                layout,
                block_store(&format, arguments),
            ),
            region: region.clone(),
            clock,
            invalidator: Arc::clone(&notifier) as Arc<dyn carafe_vfs::Invalidator>,
        };
        let vfs = Arc::new(Vfs::new(parts, vfs_config(&format, arguments, root)));
        let credentials = Rotating::new(
            Arc::clone(&meta),
            Arc::clone(&objects),
            attach.secret.clone(),
            setting,
        );
        Ok(Self {
            meta,
            objects,
            region,
            vfs,
            credentials,
            session,
            info,
            root,
            acls: format.enable_acl,
            notifier,
        })
    }

    /// Begins to answer the kernel.
    pub(super) fn start_session(
        &self,
        attach: &Attach,
        bundle: Bundle,
    ) -> Result<Session, Failure> {
        let options = &attach.arguments.options;
        let mut config = SessionConfig {
            writeback_cache: options.writeback_cache,
            // Lists make the kernel check permissions, which it cannot for squashed callers.
            acls: self.acls && !options.squashes(),
            ..SessionConfig::default()
        };
        if options.io_threads > 0 {
            config.threads = options.io_threads as usize;
        }
        let devices: Vec<OwnedFd> = bundle.device.into_iter().chain(bundle.clones).collect();
        let (region, vfs, notifier) = (
            self.region.clone(),
            Arc::clone(&self.vfs),
            Arc::clone(&self.notifier),
        );
        Session::start(
            devices,
            region,
            vfs,
            notifier,
            tokio::runtime::Handle::current(),
            config,
        )
        .map_err(|error| Failure::Mount(error.to_string()))
    }

    /// Ends the session with the engine; others would clean it a minute later.
    pub(super) async fn close(&self) {
        let call = Call {
            session: self.session,
            ..Call::internal()
        };
        match tokio::time::timeout(CLOSE_PATIENCE, self.meta.close_session(&call, self.session))
            .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the session is left to be cleaned"),
            Err(_) => {
                tracing::warn!("the engine does not answer: the session is left to be cleaned");
            }
        }
    }
}

fn open_store(
    format: &Format,
    arguments: &MountArguments,
) -> Result<Arc<dyn ObjectStore>, Failure> {
    let options = &arguments.options;
    let deadlines = Deadlines {
        most_get: options.get_timeout,
        most_put: options.put_timeout,
        ..Deadlines::default()
    };
    let retry = RetryPolicy {
        attempts: options.io_retries,
        ..RetryPolicy::default()
    };
    carafe_object::open_with(format, OpenOptions { deadlines, retry })
        .map_err(|error| Failure::Store(error.to_string()))
}

/// The region that a predecessor left, or a new one.
fn region(left: Option<OwnedFd>, arguments: &MountArguments) -> Result<Region, Failure> {
    let config = RegionConfig::with_pool(arguments.options.buffer_size);
    left.map_or_else(|| Region::create(config), Region::attach)
        .map_err(|error| Failure::Mount(error.to_string()))
}

async fn session(
    meta: &dyn Meta,
    region: &Region,
    info: &SessionInfo,
) -> Result<SessionId, Failure> {
    if region.session() != 0 {
        return Ok(SessionId(region.session()));
    }
    let session = meta.new_session(&Call::internal(), info).await?;
    region.set_session(session.0);
    Ok(session)
}

fn session_info(arguments: &MountArguments, now: Timestamp) -> SessionInfo {
    SessionInfo {
        version: SESSION_VERSION.into(),
        host_name: arguments.node.clone(),
        mount_point: arguments.mount_point.clone(),
        mount_time: rfc3339(now),
        process_id: std::process::id(),
        ..SessionInfo::default()
    }
}

/// `2006-01-02T15:04:05.999999999Z`: the peer does not read a session without it.
fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::new(time.secs, time.nanos as i32)
        .unwrap_or_default()
        .to_string()
}

/// The mount's root: the file system's, or a directory in it. One of a claim was made
/// with the claim; another one is made if it is not there.
async fn root(meta: &dyn Meta, arguments: &MountArguments) -> Result<Ino, Failure> {
    let call = Call::internal();
    let path = arguments.subdir.trim_matches('/');
    if path.is_empty() {
        return Ok(Ino::ROOT);
    }
    check_path(path).map_err(|error| Failure::Usage(format!("the subdir: {error}")))?;
    let is_claims = meta.volume(&call, &arguments.volume).await?.is_some();
    let make = !arguments.read_only && !is_claims;
    let mut at = Ino::ROOT;
    for part in path.split('/') {
        at = match step(meta, &call, at, part, make).await? {
            Some(dir) => dir,
            None if is_claims => return Err(gone(path)),
            None => {
                return Err(Failure::Usage(format!(
                    "there is no directory {part:?} for the subdir"
                )));
            }
        };
    }
    Ok(at)
}

/// A new directory in its place would be empty and have no quota.
fn gone(path: &str) -> Failure {
    Failure::Usage(format!(
        "the volume's directory {path:?} is gone, it was moved or deleted: put it back, for example with `carafe restore` from the trash"
    ))
}

async fn step(
    meta: &dyn Meta,
    call: &Call,
    at: Ino,
    part: &str,
    make: bool,
) -> Result<Option<Ino>, Failure> {
    let node = NewNode {
        kind: FileType::Directory,
        mode: 0o777,
        ..NewNode::default()
    };
    let found = match meta.lookup(call, at, part.as_bytes()).await {
        Err(Error::NotFound) if make => meta.create(call, at, part.as_bytes(), &node).await,
        found => found,
    };
    match found {
        Ok((ino, attr)) if attr.is_dir() => Ok(Some(ino)),
        Ok(_) => Err(Failure::Usage(format!(
            "{part:?} in the subdir is not a directory"
        ))),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn block_store(format: &Format, arguments: &MountArguments) -> BlockStoreConfig {
    let options = &arguments.options;
    BlockStoreConfig {
        block_size: format.block_bytes(),
        max_uploads: options.max_uploads as usize,
        max_downloads: options.max_downloads as usize,
        cache_full_blocks: options.cache.large_write,
        ..BlockStoreConfig::default()
    }
}

fn vfs_config(format: &Format, arguments: &MountArguments, root: Ino) -> carafe_vfs::Config {
    let options = &arguments.options;
    let mut config = carafe_vfs::Config {
        root,
        block_size: format.block_bytes(),
        description: description(format, arguments),
        read_only: arguments.read_only,
        hide_internal: options.hide_internal || root != Ino::ROOT,
        xattrs: xattrs(options, format),
        acls: format.enable_acl,
        attr_timeout: options.attr_cache,
        entry_timeout: options.entry_cache,
        dir_entry_timeout: options.dir_entry_cache,
        negative_timeout: options.negative_entry_cache,
        open_timeout: options.open_cache,
        cache_listings: options.readdir_cache,
        umask: options.umask.unwrap_or(0),
        squash: squash(options),
        atime: match options.atime_mode {
            AtimeMode::Never => Atime::Never,
            AtimeMode::Relative => Atime::Relative,
            AtimeMode::Strict => Atime::Strict,
        },
        ..carafe_vfs::Config::default()
    };
    if options.max_readahead > 0 {
        config.max_readahead = options.max_readahead;
    }
    config
}

fn squash(options: &MountOptions) -> Squash {
    let numbers = |identity: Identity| (identity.uid, identity.gid);
    Squash {
        root: options.root_squash.map(numbers),
        all: options.all_squash.map(numbers),
    }
}

/// Each of the security attributes is an extended attribute, and so asks for all; so do
/// access control lists, as with the peer.
fn xattrs(options: &MountOptions, format: &Format) -> carafe_vfs::Xattrs {
    let some = options.enable_cap || options.enable_selinux || format.enable_acl;
    carafe_vfs::Xattrs {
        enabled: options.enable_xattr || some,
        capabilities: options.enable_cap,
        selinux: options.enable_selinux,
    }
}

/// What `.config` shows: nothing secret, nothing of other tenants.
fn description(format: &Format, arguments: &MountArguments) -> String {
    let shown = serde_json::json!({
        "Version": SESSION_VERSION,
        "Format": { "Name": format.name, "UUID": format.uuid, "Storage": format.storage, "BlockSize": format.block_size },
        "Mountpoint": arguments.mount_point,
        "Subdir": arguments.subdir,
        "ReadOnly": arguments.read_only,
    });
    format!("{shown:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounts_time_is_the_peers() {
        let now = Timestamp {
            secs: 1_136_214_245,
            nanos: 120_000_000,
        };
        let info = session_info(&MountArguments::default(), now);
        assert_eq!(info.mount_time, "2006-01-02T15:04:05.12Z");
    }
}
