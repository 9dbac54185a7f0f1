//! Looking at a directory as a whole, while others change it.

use carafe_types::{Attr, FileType, Ino, Result};

use super::{Client, tree::room};
use crate::{
    Call, Cursor, Defect, DirReport, DirStat, EntryDefect,
    engine::{Engine, RawEntry, Terms},
    ops::space_of,
};

/// Entries that are looked at together.
const PAGE: usize = 1000;
/// Looks, until one finds the directory the same before and after.
const LOOKS: usize = 5;
/// The defects that a report names.
const MOST_DEFECTS: usize = 100;

impl<E: Engine> Client<E> {
    pub(super) async fn look_into(&self, call: &Call, dir: Ino) -> Result<DirReport> {
        let mut report = DirReport::default();
        for _ in 0..LOOKS {
            let before = self.books_of(call, dir).await?;
            report = self.count_entries(call, dir).await?;
            (report.attr, report.stat) = self.books_of(call, dir).await?;
            report.settled = (&report.attr, &report.stat) == (&before.0, &before.1);
            if report.settled {
                break;
            }
        }
        Ok(report)
    }

    /// What a directory says of itself.
    async fn books_of(&self, call: &Call, dir: Ino) -> Result<(Option<Attr>, Option<DirStat>)> {
        self.look(Self::step(call), move |reads| {
            Ok((reads.node(dir)?, reads.dir_stat(dir)?))
        })
        .await
    }

    async fn count_entries(&self, call: &Call, dir: Ino) -> Result<DirReport> {
        let mut report = DirReport {
            links: 2,
            ..DirReport::default()
        };
        let mut cursor = Cursor(0);
        loop {
            let terms = Self::step(call);
            let (page, end) = self
                .listings
                .page(&self.engine, terms, dir, cursor, PAGE)
                .await?;
            let inos: Vec<Ino> = page.iter().map(|(entry, _)| entry.ino).collect();
            let attrs = self.engine.nodes(terms, &inos).await?;
            for ((entry, next), attr) in page.into_iter().zip(attrs) {
                cursor = next;
                if let Some(what) = self.defect(terms, dir, &entry, attr.as_ref()).await?
                    && report.defects.len() < MOST_DEFECTS
                {
                    let RawEntry { name, ino, kind } = entry.clone();
                    report.defects.push(EntryDefect {
                        name,
                        ino,
                        kind,
                        what,
                    });
                }
                count(&mut report, entry, attr.as_ref());
            }
            if end {
                return Ok(report);
            }
        }
    }

    async fn defect(
        &self,
        terms: Terms,
        dir: Ino,
        entry: &RawEntry,
        attr: Option<&Attr>,
    ) -> Result<Option<Defect>> {
        let Some(attr) = attr else {
            return Ok(Some(Defect::Missing));
        };
        if attr.parent == dir {
            return Ok(None);
        }
        if attr.parent.0 != 0 {
            return Ok(Some(Defect::Parent(attr.parent)));
        }
        let ino = entry.ino;
        let names = self.look(terms, move |reads| {
            Ok((reads.node(ino)?, reads.parents(ino)?))
        });
        let (attr, parents) = names.await?;
        let (says, found) = (
            attr.map_or(0, |attr| attr.nlink),
            parents.iter().map(|(_, count)| *count as u32).sum(),
        );
        Ok((says != found).then_some(Defect::Names { says, found }))
    }
}

fn count(report: &mut DirReport, entry: RawEntry, attr: Option<&Attr>) {
    report.counted.inodes += 1;
    report.counted.space += attr.map_or(space_of(0), room);
    if let Some(attr) = attr.filter(|attr| attr.kind == FileType::File) {
        report.counted.length += attr.length as i64;
    }
    if entry.kind == FileType::Directory {
        report.links += 1;
        report.dirs.push((entry.name, entry.ino));
    }
}
