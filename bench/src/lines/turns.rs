//! One process that writes and reads one file in turn.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Result;

use super::{Line, Scale, noise, per_second, rate, timed};
use crate::place::Place;

const PIECE: usize = 64 << 10;
const FILE: u64 = 8 << 20;

/// What the lines of this family tell.
pub(super) fn lines() -> Vec<Line> {
    vec![rate("write and read in turn, 64 KiB", "pairs/s", turns)]
}

fn turns(place: &mut dyn Place, scale: &Scale) -> Result<Option<f64>> {
    let path = place.dir().join("turns");
    let file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path)?;
    file.set_len(FILE)?;
    let (piece, count) = (noise(PIECE, 4), scale.operations / 10);
    let mut back = vec![0; PIECE];
    let time = timed(|| {
        for number in 0..count as u64 {
            let places = FILE / PIECE as u64;
            file.write_all_at(&piece, number * 7 % places * PIECE as u64)?;
            file.read_exact_at(&mut back, number * 5 % places * PIECE as u64)?;
        }
        Ok(())
    })?;
    Ok(Some(per_second(count, time)))
}
