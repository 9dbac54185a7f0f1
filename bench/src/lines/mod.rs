//! The lines, by what they measure: one file a family.

mod listing;
mod many;
mod mounts;
mod random;
mod sequential;
mod trees;
mod turns;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::place::Place;

/// One figure.
pub(crate) struct Line {
    /// What is measured.
    pub(crate) name: String,
    /// What it counts in.
    pub(crate) unit: &'static str,
    /// Whether a smaller figure is better.
    pub(crate) less_is_better: bool,
    /// Measures it in a fresh place; `None` where it means nothing.
    pub(crate) run: Run,
}

/// How a line is measured.
pub(crate) type Run = Box<dyn Fn(&mut dyn Place, &Scale) -> Result<Option<f64>>>;

/// How much work a line does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Bytes of a big file.
    pub(crate) big: u64,
    /// Files of a few kilobytes, or empty.
    pub(crate) files: usize,
    /// Operations that touch no new file.
    pub(crate) operations: usize,
}

impl Scale {
    pub(crate) fn new(short: bool) -> Self {
        let full = Self {
            big: 2 << 30,
            files: 3000,
            operations: 20_000,
        };
        let tenth = Self {
            big: full.big / 8,
            files: full.files / 10,
            operations: full.operations / 10,
        };
        if short { tenth } else { full }
    }
}

/// All of them, in the order of the report.
pub(crate) fn all() -> Vec<Line> {
    let families = [
        sequential::lines(),
        random::lines(),
        many::lines(),
        listing::lines(),
        trees::lines(),
        turns::lines(),
        mounts::lines(),
    ];
    families.into_iter().flatten().collect()
}

/// More is better.
fn rate(
    name: impl Into<String>,
    unit: &'static str,
    run: impl Fn(&mut dyn Place, &Scale) -> Result<Option<f64>> + 'static,
) -> Line {
    Line {
        name: name.into(),
        unit,
        less_is_better: false,
        run: Box::new(run),
    }
}

/// Less is better.
fn cost(
    name: impl Into<String>,
    unit: &'static str,
    run: impl Fn(&mut dyn Place, &Scale) -> Result<Option<f64>> + 'static,
) -> Line {
    Line {
        less_is_better: true,
        ..rate(name, unit, run)
    }
}

/// How long a piece of work took.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// So many a second.
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Does `work` for each number below `count`, on so many threads that share them evenly.
fn on_threads(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let work = &work;
                scope.spawn(move || (first..count).step_by(threads).try_for_each(work))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
        })
    })
}

/// Bytes that do not compress and do not repeat.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift: fast, and good enough for bytes that nobody guesses.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
