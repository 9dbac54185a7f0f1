//! A directory's limits and what it uses.

/// Limits of a directory's tree; 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes, counted in 4 KiB units per file.
    pub max_bytes: u64,
    /// Inodes.
    pub max_inodes: u64,
}

/// A quota and what is used of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaUsage {
    /// The limits.
    pub quota: Quota,
    /// Bytes in use; may be negative for a moment while counters settle.
    pub used_bytes: i64,
    /// Inodes in use.
    pub used_inodes: i64,
}
