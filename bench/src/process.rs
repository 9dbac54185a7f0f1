//! What processes use: their own and their descendants' CPU time and memory.

use std::fs;
use std::time::Duration;

/// What the processes of a client have used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time of user and kernel.
    pub(crate) cpu: Duration,
    /// Resident bytes.
    pub(crate) resident: u64,
}

impl Usage {
    /// What a process and its descendants have used so far.
    pub(crate) fn of(process: u32) -> Self {
        let mut usage = Self::default();
        for process in tree(process) {
            usage.cpu += cpu_of(process).unwrap_or_default();
            usage.resident += resident_of(process).unwrap_or_default();
        }
        usage
    }
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
