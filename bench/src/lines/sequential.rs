//! Big files from front to back, 1 MiB at a time.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use rustix::fs::{Advice, fadvise};

use super::{Line, Scale, cost, noise, rate, timed};
use crate::place::Place;

const PIECE: usize = 1 << 20;

/// What the lines of this family tell.
pub(super) fn lines() -> Vec<Line> {
    vec![
        rate("big write with fsync", "MiB/s", |place, scale| {
            Ok(Some(rate_of(write(place, scale)?, scale)))
        }),
        cost("big write, CPU", "s/GiB", |place, scale| {
            Ok(cpu_of(write(place, scale)?, scale))
        }),
        rate("cold sequential read", "MiB/s", |place, scale| {
            Ok(Some(rate_of(cold_read(place, scale)?, scale)))
        }),
        cost("cold sequential read, CPU", "s/GiB", |place, scale| {
            Ok(cpu_of(cold_read(place, scale)?, scale))
        }),
        rate("warm read", "MiB/s", |place, scale| {
            Ok(Some(rate_of(warm_read(place, scale)?, scale)))
        }),
        cost("warm read, CPU", "s/GiB", |place, scale| {
            Ok(cpu_of(warm_read(place, scale)?, scale))
        }),
    ]
}

/// The time that passed, and the CPU time that the client took of it.
struct Spent {
    time: Duration,
    cpu: Option<Duration>,
}

fn rate_of(spent: Spent, scale: &Scale) -> f64 {
    scale.big as f64 / f64::from(1 << 20) / spent.time.as_secs_f64()
}

fn cpu_of(spent: Spent, scale: &Scale) -> Option<f64> {
    let cpu = spent.cpu?.as_secs_f64();
    Some(cpu / (scale.big as f64 / f64::from(1 << 30)))
}

fn spent(place: &dyn Place, work: impl FnOnce() -> Result<()>) -> Result<Spent> {
    let before = place.usage().cpu;
    let time = timed(work)?;
    let cpu = place
        .mount_time()
        .map(|_| place.usage().cpu.saturating_sub(before));
    Ok(Spent { time, cpu })
}

fn path(place: &dyn Place) -> PathBuf {
    place.dir().join("big")
}

/// Writes the big file and syncs it.
pub(super) fn write_big(path: &std::path::Path, bytes: u64) -> Result<()> {
    let piece = noise(PIECE, 1);
    let mut file = File::create(path)?;
    for _ in 0..bytes / PIECE as u64 {
        file.write_all(&piece)?;
    }
    Ok(file.sync_all()?)
}

/// Reads the big file to its end.
pub(super) fn read_big(path: &std::path::Path) -> Result<()> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE];
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

fn write(place: &mut dyn Place, scale: &Scale) -> Result<Spent> {
    let path = path(place);
    spent(place, || write_big(&path, scale.big))
}

fn cold_read(place: &mut dyn Place, scale: &Scale) -> Result<Spent> {
    let path = path(place);
    write_big(&path, scale.big)?;
    place.cool()?;
    spent(place, || read_big(&path))
}

/// The client's cache is warm, the kernel's is not.
fn warm_read(place: &mut dyn Place, scale: &Scale) -> Result<Spent> {
    let path = path(place);
    write_big(&path, scale.big)?;
    read_big(&path)?;
    if place.mount_time().is_some() {
        fadvise(File::open(&path)?, 0, None, Advice::DontNeed)?;
    }
    spent(place, || read_big(&path))
}
