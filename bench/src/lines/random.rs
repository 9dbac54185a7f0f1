//! 4 KiB at random places of a big file.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Result;

use super::{Line, Scale, noise, on_threads, per_second, rate, sequential, timed};
use crate::place::Place;

const PIECE: usize = 4096;
/// Direct I/O wants memory that is aligned.
#[repr(align(4096))]
struct Aligned([u8; PIECE]);

/// What the lines of this family tell.
pub(super) fn lines() -> Vec<Line> {
    vec![
        rate(
            "4 KiB random read, direct, 1 job",
            "IOPS",
            |place, scale| read(place, scale, 1),
        ),
        rate(
            "4 KiB random read, direct, 4 jobs",
            "IOPS",
            |place, scale| read(place, scale, 4),
        ),
        rate("4 KiB random write, final fsync", "IOPS", write),
    ]
}

fn read(place: &mut dyn Place, scale: &Scale, jobs: usize) -> Result<Option<f64>> {
    let path = place.dir().join("big");
    sequential::write_big(&path, scale.big)?;
    // Once from front to back: what is measured is the client and not the store.
    sequential::read_big(&path)?;
    let direct = open_direct(&path)?;
    let count = scale.operations * jobs;
    let places = scale.big / PIECE as u64;
    let time = timed(|| {
        on_threads(jobs, count, |number| {
            let mut piece = Aligned([0; PIECE]);
            direct.read_exact_at(&mut piece.0, spread(number, places))?;
            Ok(())
        })
    })?;
    Ok(Some(per_second(count, time)))
}

fn write(place: &mut dyn Place, scale: &Scale) -> Result<Option<f64>> {
    let path = place.dir().join("big");
    let (size, count) = (scale.big / 8, scale.operations / 10);
    sequential::write_big(&path, size)?;
    let (file, piece) = (File::options().write(true).open(&path)?, noise(PIECE, 2));
    let time = timed(|| {
        for number in 0..count {
            file.write_all_at(&piece, spread(number, size / PIECE as u64))?;
        }
        Ok(file.sync_all()?)
    })?;
    Ok(Some(per_second(count, time)))
}

fn open_direct(path: &Path) -> Result<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    Ok(File::options().read(true).custom_flags(flags).open(path)?)
}

/// The same places in every run, all over the file.
fn spread(number: usize, places: u64) -> u64 {
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    mixed % places * PIECE as u64
}
