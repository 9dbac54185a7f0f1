//! What a tree holds, by its largest parts.

use std::sync::Arc;

use carafe_meta::{Admin, Call, Cursor, TreeUsage};
use carafe_types::{Ino, Result};
use futures_util::future::BoxFuture;

/// Entries of a page.
const PAGE: usize = 1000;

/// A part of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Its name; `...` stands for all that is not shown.
    pub name: Vec<u8>,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// What it holds, itself included.
    pub usage: TreeUsage,
    /// Its largest parts, the largest first.
    pub parts: Vec<Summary>,
}

/// How far a summary goes.
#[derive(Clone, Copy, Debug)]
pub struct SummaryOptions {
    /// Levels below the top.
    pub depth: u32,
    /// Parts of each directory.
    pub entries: usize,
    /// Counts files where statistics would answer.
    pub strict: bool,
}

/// Sums up what lies at and below an inode.
pub fn summarise<'a>(
    meta: &'a Arc<dyn Admin>,
    call: &'a Call,
    (name, ino): (Vec<u8>, Ino),
    options: SummaryOptions,
) -> BoxFuture<'a, Result<Summary>> {
    Box::pin(async move {
        let own = meta.usage(call, ino, false, options.strict);
        let is_dir = meta.getattr(call, ino).await?.is_dir();
        if !is_dir || options.depth == 0 {
            let usage = meta.usage(call, ino, true, options.strict).await?;
            return Ok(Summary {
                name,
                is_dir,
                usage,
                parts: Vec::new(),
            });
        }
        let mut sum = Summary {
            name,
            is_dir,
            usage: own.await?,
            parts: Vec::new(),
        };
        // Directories were counted as one each, and are counted as trees now.
        let mut others = Summary {
            name: b"...".to_vec(),
            ..Summary::default()
        };
        let mut cursor = Cursor(0);
        loop {
            let page = meta.readdir(call, ino, cursor, PAGE, true).await?;
            for entry in page.entries {
                cursor = entry.next;
                let is_dir = entry.kind == carafe_types::FileType::Directory;
                let below = SummaryOptions {
                    depth: options.depth - 1,
                    ..options
                };
                let part = if is_dir {
                    let part = summarise(meta, call, (entry.name, entry.ino), below).await?;
                    add(&mut sum.usage, &part.usage);
                    take(&mut sum.usage, &one_dir());
                    part
                } else {
                    let Some(attr) = entry.attr else { continue };
                    file(entry.name, &attr)
                };
                sum.parts.push(part);
            }
            keep_largest(&mut sum.parts, options.entries, &mut others);
            if page.end {
                break;
            }
        }
        if others.usage != TreeUsage::default() {
            sum.parts.push(others);
        }
        Ok(sum)
    })
}

fn one_dir() -> TreeUsage {
    TreeUsage {
        dirs: 1,
        space: 4096,
        ..TreeUsage::default()
    }
}

fn file(name: Vec<u8>, attr: &carafe_types::Attr) -> Summary {
    let length = if attr.kind == carafe_types::FileType::File {
        attr.length
    } else {
        0
    };
    Summary {
        name,
        usage: TreeUsage {
            files: 1,
            dirs: 0,
            length,
            space: length.max(1).div_ceil(4096) * 4096,
        },
        ..Summary::default()
    }
}

fn add(sum: &mut TreeUsage, part: &TreeUsage) {
    sum.files += part.files;
    sum.dirs += part.dirs;
    sum.length += part.length;
    sum.space += part.space;
}

fn take(sum: &mut TreeUsage, part: &TreeUsage) {
    sum.dirs = sum.dirs.saturating_sub(part.dirs);
    sum.space = sum.space.saturating_sub(part.space);
}

/// What is left out is added to the others.
fn keep_largest(parts: &mut Vec<Summary>, most: usize, others: &mut Summary) {
    parts.sort_by(|one, other| {
        let size = other.usage.space.cmp(&one.usage.space);
        size.then_with(|| one.name.cmp(&other.name))
    });
    for left_out in parts.drain(most.min(parts.len())..) {
        add(&mut others.usage, &left_out.usage);
    }
}
