//! Texts to options.

use std::time::Duration;

use super::{AtimeMode, CacheEviction, Identity, MountOptions, OptionError};
use crate::parse_size;

/// Who a squashed caller is if nothing else is said.
const NOBODY: Identity = Identity {
    uid: 65534,
    gid: 65534,
};

/// Options of the peer that are accepted and change nothing here.
const IGNORED: &[&str] = &[
    "allow_other",
    "allow_root",
    "auto_unmount",
    "backup-meta",
    "backup-skip-trash",
    "background",
    "cache-group",
    "cache-scan-interval",
    "config",
    "consul",
    "d",
    "debug",
    "default_permissions",
    "delay-mkdir",
    "disable-ranger",
    "disable-sys-permission-check",
    "enable-acl",
    "enable-ioctl",
    "fast-resolve",
    "force",
    "foreground",
    "fsname",
    "fuse-trace-log",
    "log",
    "log-level",
    "max-stage-write",
    "max-write",
    "max_read",
    "metrics",
    "no-agent",
    "no-color",
    "no-syslog",
    "no-update",
    "no-usage-report",
    "nonempty",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nosuid",
    "o",
    "prefix-internal",
    "quiet",
    "read-consistent-optimization",
    "relatime",
    "rw",
    "skip-dir-mtime",
    "skip-dir-nlink",
    "sort-dir",
    "storage",
    "bucket",
    "trace",
    "update-fstab",
    "upload-hours",
    "verbose",
    "custom-labels",
    "no-bgjobs",
    "allow-other",
    "block-interrupt",
    "network-interfaces",
    "network-segment",
];

const KNOWN: &[&str] = &[
    "attr-cache",
    "entry-cache",
    "dir-entry-cache",
    "negative-entry-cache",
    "open-cache",
    "readdir-cache",
    "buffer-size",
    "prefetch",
    "max-readahead",
    "max-uploads",
    "max-downloads",
    "max-deletes",
    "upload-limit",
    "download-limit",
    "get-timeout",
    "put-timeout",
    "io-retries",
    "writeback",
    "upload-delay",
    "cache-dir",
    "cache-size",
    "cache-items",
    "free-space-ratio",
    "cache-mode",
    "verify-cache-checksum",
    "cache-eviction",
    "cache-expire",
    "cache-partial-only",
    "cache-large-write",
    "read-only",
    "ro",
    "subdir",
    "enable-xattr",
    "enable-cap",
    "enable-selinux",
    "root-squash",
    "all-squash",
    "atime-mode",
    "heartbeat",
    "umask",
    "no-bgjob",
    "hide-internal",
    "writeback_cache",
    "io-threads",
];

impl MountOptions {
    /// Parses a list of texts over the defaults; later ones win. A text may hold
    /// several options with commas between them, and leading dashes.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for text in texts {
            for option in text
                .as_ref()
                .split(',')
                .map(str::trim)
                .filter(|text| !text.is_empty())
            {
                options.set(option.trim_start_matches("-o ").trim_start_matches('-'))?;
            }
        }
        super::limits::check(&options)?;
        Ok(options)
    }

    fn set(&mut self, option: &str) -> Result<(), OptionError> {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let key = &key.trim().replace('_', "-");
        let value = Value {
            key,
            text: value.trim().trim_matches('"'),
        };
        if self.set_cache(key, value)?
            || self.set_transfer(key, value)?
            || self.set_kernel(key, value)?
        {
            return Ok(());
        }
        if IGNORED.contains(&key.as_str()) || IGNORED.contains(&key.replace('-', "_").as_str()) {
            self.ignored.push(option.to_owned());
            return Ok(());
        }
        Err(OptionError::Unknown {
            option: key.clone(),
            hint: hint(key),
        })
    }

    fn set_cache(&mut self, key: &str, value: Value<'_>) -> Result<bool, OptionError> {
        let cache = &mut self.cache;
        match key {
            "cache-dir" => {
                cache.dirs = value
                    .text
                    .split(':')
                    .filter(|dir| !dir.is_empty())
                    .map(str::to_owned)
                    .collect();
            }
            "cache-size" => cache.size = value.mebibytes()?,
            "cache-items" => cache.items = value.number()?,
            "free-space-ratio" => cache.free_space_ratio = value.ratio()?,
            "cache-mode" => cache.mode = value.octal()?,
            "verify-cache-checksum" => cache.verify_checksum = value.text != "none",
            "cache-eviction" => cache.eviction = value.eviction()?,
            "cache-expire" => cache.expire = value.duration()?,
            "cache-partial-only" => cache.partial_only = value.flag()?,
            "cache-large-write" => cache.large_write = value.flag()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_transfer(&mut self, key: &str, value: Value<'_>) -> Result<bool, OptionError> {
        match key {
            "buffer-size" => self.buffer_size = value.mebibytes()?,
            "prefetch" => self.prefetch = value.number()?,
            "max-readahead" => self.max_readahead = value.mebibytes()?,
            "max-uploads" => self.max_uploads = value.positive()?,
            "max-downloads" => self.max_downloads = value.positive()?,
            "max-deletes" => self.max_deletes = value.number()?,
            "upload-limit" => self.upload_limit = value.megabits()?,
            "download-limit" => self.download_limit = value.megabits()?,
            "get-timeout" => self.get_timeout = value.duration()?,
            "put-timeout" => self.put_timeout = value.duration()?,
            "io-retries" => self.io_retries = value.number()?,
            "writeback" => self.writeback = value.flag()?,
            "upload-delay" => self.upload_delay = value.duration()?,
            "io-threads" => self.io_threads = value.number()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_kernel(&mut self, key: &str, value: Value<'_>) -> Result<bool, OptionError> {
        match key {
            "attr-cache" => self.attr_cache = value.duration()?,
            "entry-cache" => self.entry_cache = value.duration()?,
            "dir-entry-cache" => self.dir_entry_cache = value.duration()?,
            "negative-entry-cache" => self.negative_entry_cache = value.duration()?,
            "open-cache" => self.open_cache = value.duration()?,
            "readdir-cache" => self.readdir_cache = value.flag()?,
            "read-only" | "ro" => self.read_only = value.flag()?,
            "subdir" => value.text.trim_matches('/').clone_into(&mut self.subdir),
            "enable-xattr" => self.enable_xattr = value.flag()?,
            "enable-cap" => self.enable_cap = value.flag()?,
            "enable-selinux" => self.enable_selinux = value.flag()?,
            "root-squash" => self.root_squash = value.identity()?,
            "all-squash" => self.all_squash = value.identity()?,
            "atime-mode" => self.atime_mode = value.atime_mode()?,
            "heartbeat" => self.heartbeat = value.duration()?,
            "umask" => self.umask = Some(value.octal()?),
            "no-bgjob" => self.no_bgjob = value.flag()?,
            "hide-internal" => self.hide_internal = value.flag()?,
            "writeback-cache" => self.writeback_cache = value.flag()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[derive(Clone, Copy)]
struct Value<'a> {
    key: &'a str,
    text: &'a str,
}

impl Value<'_> {
    fn bad(self, expected: &'static str) -> OptionError {
        OptionError::Value {
            option: self.key.to_owned(),
            value: self.text.to_owned(),
            expected: expected.into(),
        }
    }

    fn flag(self) -> Result<bool, OptionError> {
        match self.text {
            "" | "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err(self.bad("true or false, or the name alone")),
        }
    }

    fn number<T: std::str::FromStr>(self) -> Result<T, OptionError> {
        self.text.parse().map_err(|_| self.bad("a whole number"))
    }

    fn positive(self) -> Result<u32, OptionError> {
        match self.text.parse() {
            Ok(0) | Err(_) => Err(self.bad("a whole number above 0")),
            Ok(number) => Ok(number),
        }
    }

    fn octal(self) -> Result<u16, OptionError> {
        let number = u16::from_str_radix(self.text, 8)
            .ok()
            .filter(|number| *number <= 0o7777);
        number.ok_or_else(|| self.bad("permission bits such as 0600"))
    }

    /// `uid:gid`, or a number that is both; nothing is nobody.
    fn identity(self) -> Result<Option<Identity>, OptionError> {
        if self.text.is_empty() {
            return Ok(Some(NOBODY));
        }
        let (uid, gid) = self.text.split_once(':').unwrap_or((self.text, self.text));
        match (uid.parse(), gid.parse()) {
            (Ok(uid), Ok(gid)) => Ok(Some(Identity { uid, gid })),
            _ => Err(self.bad("a user's and a group's number, as 65534:65534")),
        }
    }

    fn atime_mode(self) -> Result<AtimeMode, OptionError> {
        Ok(match self.text {
            "noatime" => AtimeMode::Never,
            "relatime" => AtimeMode::Relative,
            "strictatime" => AtimeMode::Strict,
            _ => return Err(self.bad("noatime, relatime or strictatime")),
        })
    }

    fn ratio(self) -> Result<f64, OptionError> {
        let ratio = self
            .text
            .parse()
            .ok()
            .filter(|ratio| (0.0..1.0).contains(ratio));
        ratio.ok_or_else(|| self.bad("a number from 0 to below 1"))
    }

    fn eviction(self) -> Result<CacheEviction, OptionError> {
        match self.text {
            "2-random" => Ok(CacheEviction::TwoRandom),
            "lru" => Ok(CacheEviction::Lru),
            "none" => Ok(CacheEviction::None),
            _ => Err(self.bad("2-random, lru or none")),
        }
    }

    fn mebibytes(self) -> Result<u64, OptionError> {
        parse_size(self.text, 1 << 20)
            .map_err(|_| self.bad("a size in MiB, or with a unit (K, M, G, T)"))
    }

    fn megabits(self) -> Result<u64, OptionError> {
        let megabits: u64 = self
            .number()
            .map_err(|_| self.bad("a whole number of Mbit/s"))?;
        megabits
            .checked_mul(1_000_000)
            .ok_or_else(|| self.bad("a whole number of Mbit/s"))
    }

    fn duration(self) -> Result<Duration, OptionError> {
        let expected = "seconds, or a time with a unit (ms, s, m, h, d)";
        let units = [
            ("ms", 0.001),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
            ("d", 86400.0),
        ];
        let unit = units
            .iter()
            .find_map(|(unit, secs)| Some((self.text.strip_suffix(unit)?, *secs)));
        let (digits, scale) = unit.unwrap_or((self.text, 1.0));
        let seconds: f64 = digits.parse().map_err(|_| self.bad(expected))?;
        Duration::try_from_secs_f64(seconds * scale).map_err(|_| self.bad(expected))
    }
}

/// Names a known option that is one or two letters away.
fn hint(option: &str) -> String {
    let near = KNOWN
        .iter()
        .map(|known| (distance(option, known), known))
        .min();
    match near {
        Some((distance, known)) if distance <= 2 => format!(": did you mean {known:?}?"),
        _ => ": see the list of mount options in the documentation".to_owned(),
    }
}

/// The number of letters to add, remove or change.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (line, left) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, right) in two.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_juicefs_users_list_is_read() {
        let options = MountOptions::parse([
            "cache-size=2048",
            "buffer-size=512M,max-uploads=50",
            "writeback",
            "attr-cache=1.5",
            "entry-cache=500ms",
            "cache-dir=/a:/b",
            "allow_other",
            "writeback_cache",
            "--subdir=/x/y/",
        ])
        .unwrap();
        assert_eq!(
            (options.cache.size, options.buffer_size, options.max_uploads),
            (2 << 30, 512 << 20, 50)
        );
        assert!(options.writeback && options.writeback_cache && !options.read_only);
        assert_eq!(
            (
                options.attr_cache.as_millis(),
                options.entry_cache.as_millis()
            ),
            (1500, 500)
        );
        assert_eq!(options.cache.dirs, ["/a", "/b"]);
        assert_eq!(
            (options.subdir.as_str(), options.ignored.as_slice()),
            ("x/y", &["allow_other".to_owned()][..])
        );
    }

    #[test]
    fn squashing_names_a_user_and_a_group() {
        let parse = |text: &str| MountOptions::parse([text]).map(|options| options.root_squash);
        let is = |uid, gid| Ok(Some(Identity { uid, gid }));
        assert_eq!(parse("root-squash=7:8"), is(7, 8));
        assert_eq!(parse("root-squash=7"), is(7, 7));
        assert_eq!(parse("root-squash"), is(65534, 65534));
        assert!(parse("root-squash=a:b").is_err());
    }

    #[test]
    fn a_misspelled_option_gets_a_hint() {
        let error = MountOptions::parse(["chache-size=1"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("cache-size"), "{error}");
    }

    #[test]
    fn a_bad_value_says_what_is_expected() {
        let error = MountOptions::parse(["free-space-ratio=2"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "mount option free-space-ratio=2: expected a number from 0 to below 1"
        );
    }

    #[test]
    fn every_known_option_is_handled() {
        for known in KNOWN {
            let error = MountOptions::parse([format!("{known}=?")]).err();
            assert!(
                !matches!(error, Some(OptionError::Unknown { .. })),
                "{known}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = MountOptions::parse([text]);
        }

        #[test]
        fn options_survive_the_wire(size in 0u64..1 << 40, secs in 0u64..1 << 30, flag: bool) {
            let texts = [format!("cache-size={size}K"), format!("attr-cache={secs}"), format!("writeback={flag}")];
            let options = MountOptions::parse(texts).unwrap();
            let json = serde_json::to_string(&options).unwrap();
            prop_assert_eq!(serde_json::from_str::<MountOptions>(&json).unwrap(), options);
        }
    }
}
