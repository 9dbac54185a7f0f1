//! Mount options as `juicefs mount` spells them, parsed into a typed struct.
//!
//! A StorageClass, a PersistentVolume and a command line all give a list of texts,
//! each `key`, `key=value` or several with commas between them. Sizes are in MiB
//! unless they have a unit, times in seconds unless they have one.

mod limits;
mod parse;

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

/// All options that a client of this build acts on; the defaults are the peer's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountOptions {
    /// `attr-cache`: how long the kernel trusts attributes.
    pub attr_cache: Duration,
    /// `entry-cache`: how long the kernel trusts a file's name.
    pub entry_cache: Duration,
    /// `dir-entry-cache`: how long the kernel trusts a directory's name.
    pub dir_entry_cache: Duration,
    /// `negative-entry-cache`: how long the kernel trusts that a name is not there.
    pub negative_entry_cache: Duration,
    /// `open-cache`: how long an opened file's metadata is trusted.
    pub open_cache: Duration,
    /// `readdir-cache`: let the kernel keep directory listings.
    pub readdir_cache: bool,
    /// `buffer-size`: bytes of read and write buffers together.
    pub buffer_size: u64,
    /// `prefetch`: how many blocks are read ahead on a random read.
    pub prefetch: u32,
    /// `max-readahead`: bytes that a sequential read may run ahead; 0 is automatic.
    pub max_readahead: u64,
    /// `max-uploads`: concurrent uploads.
    pub max_uploads: u32,
    /// `max-downloads`: concurrent downloads.
    pub max_downloads: u32,
    /// `max-deletes`: concurrent deletions.
    pub max_deletes: u32,
    /// `upload-limit` in bits per second; 0 means none.
    pub upload_limit: u64,
    /// `download-limit` in bits per second; 0 means none.
    pub download_limit: u64,
    /// `get-timeout`: the longest that one download may take.
    pub get_timeout: Duration,
    /// `put-timeout`: the longest that one upload may take.
    pub put_timeout: Duration,
    /// `io-retries`: how often the store is asked again.
    pub io_retries: u32,
    /// `writeback`: acknowledge fsync when the data is on the local disk.
    pub writeback: bool,
    /// `upload-delay`: with `writeback`, how long before an upload starts.
    pub upload_delay: Duration,
    /// The block cache.
    pub cache: CacheOptions,
    /// `ro`, `read-only`: nothing may be changed.
    pub read_only: bool,
    /// `subdir`: the directory that becomes the root.
    pub subdir: String,
    /// `enable-xattr`: extended attributes.
    pub enable_xattr: bool,
    /// `enable-cap`: the extended attribute `security.capability`.
    pub enable_cap: bool,
    /// `enable-selinux`: the extended attribute `security.selinux`.
    pub enable_selinux: bool,
    /// `root-squash`: the user and group that a local root is.
    pub root_squash: Option<Identity>,
    /// `all-squash`: the user and group that everybody is.
    pub all_squash: Option<Identity>,
    /// `atime-mode`: when a read is noted as the last access.
    pub atime_mode: AtimeMode,
    /// `heartbeat`: how often the session says that it lives.
    pub heartbeat: Duration,
    /// `umask` for new entries; `None` leaves the callers'.
    pub umask: Option<u16>,
    /// `no-bgjob`: no background work in this client.
    pub no_bgjob: bool,
    /// `hide-internal`: no `.control`, `.trash` … in the root.
    pub hide_internal: bool,
    /// `writeback_cache`: the kernel collects small writes.
    pub writeback_cache: bool,
    /// `io-threads` (ours): threads that read requests; 0 is automatic.
    pub io_threads: u32,
    /// Options of the peer that mean nothing here, for a warning.
    pub ignored: Vec<String>,
}

/// How blocks are cached on the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheOptions {
    /// `cache-dir`: directories, several with `:` between them; `memory` for none.
    /// Empty means the installation's default.
    pub dirs: Vec<String>,
    /// `cache-size`: bytes, over all directories.
    pub size: u64,
    /// `cache-items`: blocks, over all directories; 0 means no limit.
    pub items: u64,
    /// `free-space-ratio`: the share of the disk that stays free.
    pub free_space_ratio: f64,
    /// `cache-mode`: permission bits of cached files.
    pub mode: u16,
    /// `verify-cache-checksum` is not `none`.
    pub verify_checksum: bool,
    /// `cache-eviction`.
    pub eviction: CacheEviction,
    /// `cache-expire`: blocks unused for so long go; 0 means never.
    pub expire: Duration,
    /// `cache-partial-only`: keep only small reads and blocks.
    pub partial_only: bool,
    /// `cache-large-write`: keep full blocks too as they are uploaded.
    pub large_write: bool,
}

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The group's.
    pub gid: u32,
}

/// When a read is noted as the last access. What a later version calls otherwise is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtimeMode {
    /// `relatime`: when the file changed since, or the last note is a day old.
    #[serde(rename = "relatime")]
    Relative,
    /// `strictatime`: always.
    #[serde(rename = "strictatime")]
    Strict,
    /// `noatime`.
    #[default]
    #[serde(rename = "noatime", other)]
    Never,
}

/// Which blocks make room for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheEviction {
    /// `lru`.
    Lru,
    /// `none`: a full cache takes nothing new.
    None,
    /// `2-random`: the older of two taken at random, as the peer; also what the
    /// name of a later version becomes.
    #[default]
    #[serde(other)]
    TwoRandom,
}

/// What is wrong with an option; says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Nobody knows it.
    #[error("there is no mount option {option:?}{hint}")]
    Unknown {
        /// What was written.
        option: String,
        /// ` (did you mean …?)`, or nothing.
        hint: String,
    },
    /// Its value cannot be read.
    #[error("mount option {option}={value}: expected {expected}")]
    Value {
        /// The option.
        option: String,
        /// What was written.
        value: String,
        /// What can stand there.
        expected: Cow<'static, str>,
    },
}

impl Default for MountOptions {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            attr_cache: second,
            entry_cache: second,
            dir_entry_cache: second,
            negative_entry_cache: Duration::ZERO,
            open_cache: Duration::ZERO,
            readdir_cache: false,
            buffer_size: 300 << 20,
            prefetch: 1,
            max_readahead: 0,
            max_uploads: 20,
            max_downloads: 200,
            max_deletes: 10,
            upload_limit: 0,
            download_limit: 0,
            get_timeout: Duration::from_mins(1),
            put_timeout: Duration::from_mins(1),
            io_retries: 10,
            writeback: false,
            upload_delay: Duration::ZERO,
            cache: CacheOptions::default(),
            read_only: false,
            subdir: String::new(),
            enable_xattr: false,
            enable_cap: false,
            enable_selinux: false,
            root_squash: None,
            all_squash: None,
            atime_mode: AtimeMode::Never,
            heartbeat: Duration::from_secs(12),
            umask: None,
            no_bgjob: false,
            hide_internal: false,
            writeback_cache: false,
            io_threads: 0,
            ignored: Vec::new(),
        }
    }
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            dirs: Vec::new(),
            size: 100 << 30,
            items: 0,
            free_space_ratio: 0.1,
            mode: 0o600,
            verify_checksum: true,
            eviction: CacheEviction::TwoRandom,
            expire: Duration::ZERO,
            partial_only: false,
            large_write: false,
        }
    }
}

impl MountOptions {
    /// Whether callers are somebody else here than to their kernel, which then cannot
    /// check permissions.
    pub fn squashes(&self) -> bool {
        self.root_squash.is_some() || self.all_squash.is_some()
    }
}

impl CacheOptions {
    /// Whether blocks are kept in memory only.
    pub fn memory_only(&self) -> bool {
        self.dirs.iter().any(|dir| dir == "memory") || self.size == 0
    }
}
