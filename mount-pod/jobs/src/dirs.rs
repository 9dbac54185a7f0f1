//! Whether directories agree with their entries.
//!
//! Links and attributes are compared at one moment. Statistics are booked by clients in
//! their own time (JuiceFS's a second later), so a difference counts only if it is the
//! same some seconds later.

use std::{collections::HashSet, sync::Arc, time::Duration};

use carafe_meta::{Admin, Call, Cursor, DirReport, DirStat, EntryDefect};
use carafe_types::{Error, Ino, Result};

/// How often a difference that changes is looked at again.
const LOOKS: usize = 3;
/// How often a repair that was overtaken is tried.
const REPAIRS: usize = 5;

/// What a check of directories may do.
#[derive(Clone, Copy, Debug)]
pub struct DirOptions {
    /// The directories below, too.
    pub recursive: bool,
    /// Set right what can be.
    pub repair: bool,
    /// Set statistics right, and make those that are missing.
    pub sync_stats: bool,
    /// After this a difference of statistics is real.
    pub settle: Duration,
}

impl Default for DirOptions {
    fn default() -> Self {
        Self {
            recursive: false,
            repair: false,
            sync_stats: false,
            settle: Duration::from_secs(3),
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The directory's path.
    pub path: Vec<u8>,
    /// What is wrong.
    pub what: Wrong,
    /// Whether it was set right.
    pub repaired: bool,
}

/// What can be wrong with a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It has no attributes.
    NoAttributes,
    /// It counts other links than it has.
    Links {
        /// What it counts.
        says: u32,
        /// What there are.
        has: u32,
    },
    /// Its statistics are off by this.
    Stat {
        /// What they say.
        says: DirStat,
        /// What there is.
        has: DirStat,
    },
    /// One of its entries.
    Entry(EntryDefect),
}

/// A directory on the way.
#[derive(Clone)]
struct Place {
    path: Vec<u8>,
    parent: Ino,
    ino: Ino,
}

/// A checker of directories.
pub struct DirCheck {
    meta: Arc<dyn Admin>,
    call: Call,
    options: DirOptions,
    findings: Vec<Finding>,
    /// Those whose statistics are off, and by how much.
    gaps: Vec<(Place, DirStat)>,
}

impl DirCheck {
    /// A checker of the volume that this engine holds.
    pub fn new(meta: Arc<dyn Admin>, options: DirOptions) -> Self {
        Self {
            meta,
            call: Call::internal(),
            options,
            findings: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Checks the directory at `path`; answers how many were looked at and what is wrong.
    pub async fn run(mut self, path: &str) -> Result<(u64, Vec<Finding>)> {
        let mut waiting = vec![self.find(path).await?];
        let keeps_stats = self.meta.load(&self.call).await?.dir_stats;
        let (mut checked, mut seen) = (0, HashSet::new());
        while let Some(place) = waiting.pop() {
            // A damaged tree may lead in a circle.
            if !seen.insert(place.ino) {
                continue;
            }
            checked += 1;
            let report = self.meta.inspect_dir(&self.call, place.ino).await?;
            let gap = report.stat_gap().filter(|gap| self.minds(*gap));
            if let Some(gap) = gap.filter(|_| keeps_stats || self.options.sync_stats) {
                self.gaps.push((place.clone(), gap));
            }
            if self.options.recursive {
                waiting.extend(
                    report
                        .dirs
                        .iter()
                        .map(|(name, ino)| place.below(name, *ino)),
                );
            }
            self.judge(place, report).await?;
        }
        self.judge_stats().await?;
        Ok((checked, self.findings))
    }

    /// Whether a difference is worth a second look.
    fn minds(&self, gap: DirStat) -> bool {
        is_wrong(gap) || self.options.repair || self.options.sync_stats
    }

    /// The directory at a path, also one whose inode has no attributes.
    async fn find(&self, path: &str) -> Result<Place> {
        let mut place = Place {
            path: Vec::new(),
            parent: Ino::ROOT,
            ino: Ino::ROOT,
        };
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let ino = match self
                .meta
                .lookup(&self.call, place.ino, part.as_bytes())
                .await
            {
                Ok((ino, attr)) if attr.is_dir() => ino,
                Ok(_) => return Err(Error::NotDirectory),
                Err(Error::NotFound) => self.entry(place.ino, part.as_bytes()).await?,
                Err(error) => return Err(error),
            };
            place = place.below(part.as_bytes(), ino);
        }
        Ok(place)
    }

    async fn entry(&self, dir: Ino, name: &[u8]) -> Result<Ino> {
        let mut cursor = Cursor(0);
        loop {
            let page = self
                .meta
                .readdir(&self.call, dir, cursor, 1000, false)
                .await?;
            for entry in page.entries {
                if entry.name == name {
                    return Ok(entry.ino);
                }
                cursor = entry.next;
            }
            if page.end {
                return Err(Error::NotFound);
            }
        }
    }

    async fn judge(&mut self, place: Place, report: DirReport) -> Result<()> {
        for defect in &report.defects {
            // A directory without attributes is found at its own turn.
            let its_turn_comes = self.options.recursive
                && defect.kind == carafe_types::FileType::Directory
                && defect.what == carafe_meta::Defect::Missing;
            if !its_turn_comes {
                self.note(&place, Wrong::Entry(defect.clone()), false);
            }
        }
        let what = match (&report.attr, report.wrong_links()) {
            (None, _) => Wrong::NoAttributes,
            (_, Some(says)) => Wrong::Links {
                says,
                has: report.links,
            },
            _ => return Ok(()),
        };
        let repaired = self.options.repair && self.repair(&place, report).await?;
        self.note(&place, what, repaired);
        Ok(())
    }

    async fn repair(&self, place: &Place, mut report: DirReport) -> Result<bool> {
        for _ in 0..REPAIRS {
            let done = self
                .meta
                .repair_dir(&self.call, place.ino, place.parent, &report);
            if done.await? {
                return Ok(true);
            }
            report = self.meta.inspect_dir(&self.call, place.ino).await?;
        }
        Ok(false)
    }

    /// Looks again at those whose statistics were off.
    async fn judge_stats(&mut self) -> Result<()> {
        for _ in 0..LOOKS {
            if self.gaps.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(self.options.settle).await;
            for (place, gap) in std::mem::take(&mut self.gaps) {
                let report = self.meta.inspect_dir(&self.call, place.ino).await?;
                match report.stat_gap() {
                    Some(now) if now == gap => self.judge_stat(&place, &report, gap).await?,
                    Some(now) => self.gaps.push((place, now)),
                    None if !report.settled => self.gaps.push((place, gap)),
                    None => {}
                }
            }
        }
        let left = self.gaps.len();
        if left > 0 {
            tracing::warn!(
                left,
                "directories change too fast for their statistics to be judged"
            );
        }
        Ok(())
    }

    async fn judge_stat(&mut self, place: &Place, report: &DirReport, gap: DirStat) -> Result<()> {
        let repair = self.options.repair || self.options.sync_stats;
        if repair {
            self.meta
                .adjust_dir_stat(&self.call, place.ino, gap)
                .await?;
        }
        // Statistics that are not there are made when they are needed.
        if let Some(says) = report.stat.filter(|_| is_wrong(gap)) {
            let has = report.counted;
            self.note(place, Wrong::Stat { says, has }, repair);
        }
        Ok(())
    }

    fn note(&mut self, place: &Place, what: Wrong, repaired: bool) {
        let path = if place.path.is_empty() {
            b"/".to_vec()
        } else {
            place.path.clone()
        };
        self.findings.push(Finding {
            path,
            what,
            repaired,
        });
    }
}

/// Whether statistics are wrong, not only in their lengths: JuiceFS books 4096 bytes
/// there for each directory that it clones or restores, and heeds lengths nowhere.
fn is_wrong(gap: DirStat) -> bool {
    gap.space != 0 || gap.inodes != 0
}

impl Place {
    fn below(&self, name: &[u8], ino: Ino) -> Self {
        Self {
            path: [&self.path[..], b"/", name].concat(),
            parent: self.ino,
            ino,
        }
    }
}
