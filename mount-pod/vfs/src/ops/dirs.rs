//! Directories: listing them from stateless cookies.
//!
//! Cookie 1 stands behind `.`, 2 behind `..`; above, a cookie is the engine's
//! cursor and 2. What a page had too much for the caller is kept with the handle for
//! its next question, and nothing else: memory is bounded by one page a handle.
//!
//! The engine is first asked by the first page: that one also tells the directory's
//! parent, for `..`, and whether there is a directory at all.

use std::time::Instant;

use carafe_meta::{Call, Cursor, DirEntry, DirPage};
use carafe_types::{Attr, Error, FileType, Ino, Result};
use parking_lot::Mutex;

use super::access::READ;
use crate::{
    DirItem, OpenFlags, Opened, Vfs,
    handle::Kind,
    internal,
    page::{BEHIND_DOT, BEHIND_DOTS, Page},
    recent::Asked,
    shared::Core,
};

/// The most entries of one page.
const MAX_PAGE: usize = 1024;

impl Vfs {
    /// Opens a directory.
    pub async fn opendir(&self, call: &Call, ino: Ino) -> Result<Opened> {
        let core = &*self.core;
        let inner = core.inner(ino)?;
        core.permit_inner(call, inner, READ).await?;
        let kind = Kind::Directory {
            ino: inner,
            left: Mutex::default(),
        };
        let handle = core
            .handles
            .open(&core.region, ino, OpenFlags::READ, kind)?;
        Ok(Opened {
            handle,
            attr: None,
            // The kernel compares the directory's mtime itself.
            keep_cache: core.config.cache_listings,
            direct_io: false,
            cache_listing: core.config.cache_listings,
        })
    }

    /// At most `limit` entries behind `cookie` (0 is the start); none at the end.
    /// With `plus`, each has what a lookup would answer. Entries that the caller has
    /// no room for are asked for again by their cookie.
    pub async fn readdir(
        &self,
        call: &Call,
        ino: Ino,
        handle: u64,
        cookie: u64,
        limit: usize,
        plus: bool,
    ) -> Result<Vec<DirItem>> {
        let core = &*self.core;
        let handle = core.handles.find(ino, handle)?;
        let Kind::Directory { ino: inner, left } = &handle.kind else {
            return Err(Error::NotDirectory);
        };
        if let Some(items) = core.take_left(left, cookie, plus) {
            let items = items.into_iter().take(limit).collect();
            return Ok(items);
        }
        let limit = limit.min(MAX_PAGE);
        let cursor = Cursor(cookie.saturating_sub(BEHIND_DOTS));
        let asked = core.recent.asked();
        let shown = core.shown(call, *inner, cursor, limit, plus).await?;
        if plus {
            let first = cookie < BEHIND_DOTS;
            core.neighbours.saw(*inner, first, &shown.entries);
        }
        let mut items = core.dots(*inner, shown.dir.as_ref(), cookie);
        let entries = shown.entries.into_iter();
        items.extend(entries.map(|entry| core.item(entry, asked)));
        *left.lock() = Some(Page {
            items: items.clone(),
            end: shown.end,
            asked,
            at: Instant::now(),
        });
        items.truncate(limit);
        Ok(items)
    }

    /// Closes a directory.
    #[expect(clippy::unused_async, reason = "its siblings are")]
    pub async fn releasedir(&self, _call: &Call, ino: Ino, handle: u64) -> Result<()> {
        self.core.handles.close(ino, handle).map(|_| ())
    }

    /// fsync(2) of a directory: what was answered before is durable in the engine.
    pub async fn fsyncdir(&self, call: &Call, _ino: Ino, _handle: u64) -> Result<()> {
        self.core.meta.sync(call).await
    }
}

impl Core {
    /// `.` and `..`, those that stand behind `cookie`. The parent never leaves the
    /// mount's root.
    fn dots(&self, ino: Ino, dir: Option<&Attr>, cookie: u64) -> Vec<DirItem> {
        let parent = dir.map_or(ino, |attr| attr.parent);
        let is_top = ino == self.config.root || parent == Ino(0);
        let parent = if is_top { ino } else { parent };
        let item = |ino, name: &[u8], next| DirItem {
            ino: self.outer(ino),
            name: name.to_vec(),
            kind: FileType::Directory,
            next,
            entry: None,
        };
        let both = [
            item(ino, b".", BEHIND_DOT),
            item(parent, b"..", BEHIND_DOTS),
        ];
        let behind = usize::try_from(cookie).unwrap_or(both.len());
        both.into_iter().skip(behind).collect()
    }

    /// A page of what is shown of a directory; empty only at its end.
    async fn shown(
        &self,
        call: &Call,
        dir: Ino,
        mut cursor: Cursor,
        limit: usize,
        attrs: bool,
    ) -> Result<DirPage> {
        let mut itself = None;
        loop {
            let mut page = self.meta.readdir(call, dir, cursor, limit, attrs).await?;
            let last = page.entries.last().map(|entry| entry.next);
            page.entries
                .retain(|entry| !internal::is_hidden(dir, &entry.name));
            itself = itself.or(page.dir.take());
            match last {
                Some(last) if page.entries.is_empty() && !page.end => cursor = last,
                _ => {
                    page.dir = itself;
                    return Ok(page);
                }
            }
        }
    }

    /// What is left of the last page. Its attributes go to the kernel as new: those of
    /// inodes that were changed since are left out, and none is kept beyond its time.
    fn take_left(
        &self,
        left: &Mutex<Option<Page>>,
        cookie: u64,
        plus: bool,
    ) -> Option<Vec<DirItem>> {
        let left = left.lock();
        let page = left.as_ref()?;
        let mut items = page.rest(cookie, plus)?.to_vec();
        let has_old = plus && page.at.elapsed() >= self.config.attr_timeout;
        if has_old && !items.is_empty() {
            return None;
        }
        for item in &mut items {
            item.entry = item
                .entry
                .take_if(|entry| !self.recent.since(entry.ino, page.asked));
        }
        Some(items)
    }

    fn item(&self, entry: DirEntry, asked: Asked) -> DirItem {
        let DirEntry {
            name,
            ino,
            kind,
            attr,
            next,
        } = entry;
        let entry = attr.map(|attr: Attr| self.entry(ino, attr));
        // Without attributes, the kernel asks for those that it needs.
        let entry = entry.filter(|_| !self.recent.since(ino, asked));
        DirItem {
            ino: self.outer(ino),
            name,
            kind,
            next: next.0.saturating_add(BEHIND_DOTS),
            entry,
        }
    }

    /// The directory that an inode is, for a handle that a predecessor opened.
    pub(crate) fn directory(&self, ino: Ino) -> Result<Kind> {
        Ok(Kind::Directory {
            ino: self.inner(ino)?,
            left: Mutex::default(),
        })
    }
}
