//! Directories with many entries.

use std::fs::{self, File};

use anyhow::Result;

use super::{Line, Scale, on_threads, per_second, rate, timed};
use crate::place::Place;

/// What the lines of this family tell.
pub(super) fn lines() -> Vec<Line> {
    vec![rate("readdir and lstat, cold", "entries/s", list)]
}

fn list(place: &mut dyn Place, scale: &Scale) -> Result<Option<f64>> {
    let (dir, count) = (place.dir().join("many"), scale.files * 5 / 3);
    fs::create_dir(&dir)?;
    on_threads(8, count, |number| {
        File::create(dir.join(format!("entry-{number}")))?;
        Ok(())
    })?;
    place.cool()?;
    let mut seen = 0;
    let time = timed(|| {
        for entry in fs::read_dir(&dir)? {
            fs::symlink_metadata(entry?.path())?;
            seen += 1;
        }
        Ok(())
    })?;
    anyhow::ensure!(seen == count, "{seen} of {count} entries are listed");
    Ok(Some(per_second(count, time)))
}
