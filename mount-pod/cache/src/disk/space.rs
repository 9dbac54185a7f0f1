//! How full the file system below a cache directory is.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::fs::fstatvfs;

/// How long an answer of the file system is believed, if little is written meanwhile.
const FRESH: Duration = Duration::from_secs(1);
/// What counts as little.
const LITTLE: u64 = 64 << 20;

/// Keeps a part of a file system free.
#[derive(Debug)]
pub(super) struct Floor {
    free: f64,
    asked: Option<Instant>,
    written: u64,
}

impl Floor {
    pub(super) fn new(free: f64) -> Self {
        Self {
            free,
            asked: None,
            written: 0,
        }
    }

    /// How many bytes have to go before `more` are written.
    pub(super) fn excess(&mut self, directory: &OwnedFd, more: u64) -> io::Result<u64> {
        self.written += more;
        let fresh =
            self.asked.is_some_and(|asked| asked.elapsed() < FRESH) && self.written < LITTLE;
        if fresh {
            return Ok(0);
        }
        (self.asked, self.written) = (Some(Instant::now()), more);
        let stat = fstatvfs(directory)?;
        let (total, free) = (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize);
        let floor = (total as f64 * self.free) as u64;
        let few_inodes =
            stat.f_files > 0 && (stat.f_favail as f64) < stat.f_files as f64 * self.free;
        // Inodes are freed file by file: as much goes as gives some back.
        let for_inodes = if few_inodes { LITTLE } else { 0 };
        Ok((floor + more).saturating_sub(free).max(for_inodes))
    }
}
