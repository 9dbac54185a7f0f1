//! Many files in one directory: empty ones, which show what the metadata engine costs,
//! and ones of 128 KiB.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Line, Scale, noise, on_threads, per_second, rate, timed};
use crate::place::Place;

/// What is in each file.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    bytes: usize,
    /// Measured with one thread, and with so many.
    threads: usize,
    steps: &'static [Step],
}

/// What is measured; each needs the creation before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Stat,
    Open,
    Read,
    Rename,
    Unlink,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "128 KiB files",
        bytes: 128 << 10,
        threads: 4,
        steps: &[Step::Create, Step::Read, Step::Unlink],
    },
    Kind {
        name: "empty files",
        bytes: 0,
        threads: 8,
        steps: &[
            Step::Create,
            Step::Stat,
            Step::Open,
            Step::Rename,
            Step::Unlink,
        ],
    },
];

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Stat => "stat",
            Self::Open => "open and close",
            Self::Read => "read",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
        }
    }

    /// Does it to a file that is there.
    fn on(self, path: &Path) -> std::io::Result<()> {
        match self {
            Self::Create | Self::Open => File::open(path).map(drop),
            Self::Stat => fs::symlink_metadata(path).map(drop),
            Self::Read => fs::read(path).map(drop),
            Self::Rename => fs::rename(path, path.with_extension("new")),
            Self::Unlink => fs::remove_file(path),
        }
    }
}

/// What the lines of this family tell.
pub(super) fn lines() -> Vec<Line> {
    KINDS.into_iter().flat_map(lines_of).collect()
}

fn lines_of(kind: Kind) -> impl Iterator<Item = Line> {
    let counts = [1, kind.threads].into_iter();
    counts.flat_map(move |threads| {
        kind.steps.iter().map(move |&step| {
            let plural = if threads == 1 { "" } else { "s" };
            let name = format!("{}: {}, {threads} thread{plural}", kind.name, step.name());
            rate(name, "/s", move |place, scale| {
                measure(place, scale, kind.bytes, step, threads)
            })
        })
    })
}

fn measure(
    place: &mut dyn Place,
    scale: &Scale,
    bytes: usize,
    step: Step,
    threads: usize,
) -> Result<Option<f64>> {
    let (dir, count) = (place.dir().join("many"), scale.files);
    fs::create_dir(&dir)?;
    let content = noise(bytes, 3);
    let each = |work: &(dyn Fn(&Path) -> std::io::Result<()> + Sync)| {
        timed(|| on_threads(threads, count, |number| Ok(work(&file(&dir, number))?)))
    };
    let created = each(&|path| fs::write(path, &content))?;
    if step == Step::Create {
        return Ok(Some(per_second(count, created)));
    }
    place.cool()?;
    let time = each(&|path| step.on(path))?;
    Ok(Some(per_second(count, time)))
}

fn file(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("file-{number}"))
}
