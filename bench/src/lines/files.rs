//! Files of 128 KiB.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Line, Scale, noise, on_threads, per_second, rate, timed};
use crate::place::Place;

const SIZE: usize = 128 << 10;

/// What is measured; each needs those before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Read,
    Unlink,
}

/// What the lines of this family tell.
pub(super) fn lines() -> Vec<Line> {
    vec![
        rate("128 KiB files: create, 1 thread", "/s", |p, s| {
            step(p, s, Step::Create, 1)
        }),
        rate("128 KiB files: read, 1 thread", "/s", |p, s| {
            step(p, s, Step::Read, 1)
        }),
        rate("128 KiB files: unlink, 1 thread", "/s", |p, s| {
            step(p, s, Step::Unlink, 1)
        }),
        rate("128 KiB files: create, 4 threads", "/s", |p, s| {
            step(p, s, Step::Create, 4)
        }),
        rate("128 KiB files: read, 4 threads", "/s", |p, s| {
            step(p, s, Step::Read, 4)
        }),
        rate("128 KiB files: unlink, 4 threads", "/s", |p, s| {
            step(p, s, Step::Unlink, 4)
        }),
    ]
}

fn step(place: &mut dyn Place, scale: &Scale, step: Step, threads: usize) -> Result<Option<f64>> {
    let (dir, count) = (place.dir().join("files"), scale.files);
    fs::create_dir(&dir)?;
    let content = noise(SIZE, 3);
    let created = timed(|| {
        on_threads(threads, count, |number| {
            Ok(fs::write(file(&dir, number), &content)?)
        })
    })?;
    if step == Step::Create {
        return Ok(Some(per_second(count, created)));
    }
    place.cool()?;
    let read = || {
        on_threads(threads, count, |number| {
            fs::read(file(&dir, number))?;
            Ok(())
        })
    };
    let unlink = || {
        on_threads(threads, count, |number| {
            Ok(fs::remove_file(file(&dir, number))?)
        })
    };
    let time = if step == Step::Read {
        timed(read)
    } else {
        timed(unlink)
    };
    Ok(Some(per_second(count, time?)))
}

fn file(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("file-{number}"))
}
