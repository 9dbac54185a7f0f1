//! Empty files: what the metadata engine costs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Line, Scale, on_threads, per_second, rate, timed};
use crate::place::Place;

/// What is measured; each needs the creation before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Stat,
    Open,
    Rename,
    Unlink,
}

/// What the lines of this family tell.
pub(super) fn lines() -> Vec<Line> {
    vec![
        rate("empty files: create, 1 thread", "/s", |p, s| {
            step(p, s, Step::Create, 1)
        }),
        rate("empty files: stat, 1 thread", "/s", |p, s| {
            step(p, s, Step::Stat, 1)
        }),
        rate("empty files: open and close, 1 thread", "/s", |p, s| {
            step(p, s, Step::Open, 1)
        }),
        rate("empty files: rename, 1 thread", "/s", |p, s| {
            step(p, s, Step::Rename, 1)
        }),
        rate("empty files: unlink, 1 thread", "/s", |p, s| {
            step(p, s, Step::Unlink, 1)
        }),
        rate("empty files: create, 8 threads", "/s", |p, s| {
            step(p, s, Step::Create, 8)
        }),
        rate("empty files: stat, 8 threads", "/s", |p, s| {
            step(p, s, Step::Stat, 8)
        }),
        rate("empty files: open and close, 8 threads", "/s", |p, s| {
            step(p, s, Step::Open, 8)
        }),
        rate("empty files: rename, 8 threads", "/s", |p, s| {
            step(p, s, Step::Rename, 8)
        }),
        rate("empty files: unlink, 8 threads", "/s", |p, s| {
            step(p, s, Step::Unlink, 8)
        }),
    ]
}

fn step(place: &mut dyn Place, scale: &Scale, step: Step, threads: usize) -> Result<Option<f64>> {
    let (dir, count) = (place.dir().join("empty"), scale.files);
    fs::create_dir(&dir)?;
    let each = |work: &(dyn Fn(PathBuf) -> Result<()> + Sync)| {
        timed(|| on_threads(threads, count, |number| work(file(&dir, number))))
    };
    let created = each(&|path| Ok(File::create(path).map(drop)?))?;
    if step == Step::Create {
        return Ok(Some(per_second(count, created)));
    }
    place.cool()?;
    let time = match step {
        Step::Create | Step::Stat => each(&|path| Ok(fs::symlink_metadata(path).map(|_| ())?)),
        Step::Open => each(&|path| Ok(File::open(path).map(drop)?)),
        Step::Rename => each(&|path| Ok(fs::rename(&path, path.with_extension("new"))?)),
        Step::Unlink => each(&|path| Ok(fs::remove_file(path)?)),
    };
    Ok(Some(per_second(count, time?)))
}

fn file(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("file-{number}"))
}
