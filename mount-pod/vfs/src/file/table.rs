//! The files in use, and what is remembered of those that were closed.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use carafe_types::{Attr, Ino};
use parking_lot::Mutex;

use super::File;
use crate::recent::Asked;

/// Closed files whose content the kernel may still have cached.
const MAX_CLOSED: usize = 16 << 10;

/// Keeps a file in the table.
pub(crate) struct Pin {
    files: Arc<Files>,
    file: Arc<File>,
}

impl std::ops::Deref for Pin {
    type Target = Arc<File>;

    fn deref(&self) -> &Arc<File> {
        &self.file
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.file.state.lock().pins -= 1;
        self.files.forget_idle(&self.file);
    }
}

/// What is remembered of a file that was closed.
#[derive(Clone, Debug)]
struct Closed {
    attr: Attr,
    /// When the engine told it, and no change of ours was later than this.
    told: Option<Instant>,
    asked: Asked,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Files {
    used: Mutex<HashMap<Ino, Arc<File>>>,
    /// Files with dirty data; the flusher looks at these only.
    dirty: Mutex<HashMap<Ino, Arc<File>>>,
    closed: Mutex<HashMap<Ino, Closed>>,
}

impl Files {
    /// The file, if it is in use.
    pub(crate) fn find(&self, ino: Ino) -> Option<Arc<File>> {
        self.used.lock().get(&ino).cloned()
    }

    /// The file, if it is in use; it stays in the table while the pin lives.
    pub(crate) fn pin(self: &Arc<Self>, ino: Ino) -> Option<Pin> {
        let used = self.used.lock();
        let file = Arc::clone(used.get(&ino)?);
        file.state.lock().pins += 1;
        Some(Pin {
            files: Arc::clone(self),
            file,
        })
    }

    /// The file; it is made if it is not in use.
    pub(crate) fn find_or_make(&self, ino: Ino) -> Arc<File> {
        let mut files = self.used.lock();
        Arc::clone(files.entry(ino).or_insert_with(|| Arc::new(File::new(ino))))
    }

    /// Takes the file out if nothing needs it.
    pub(crate) fn forget_idle(&self, file: &Arc<File>) {
        let mut files = self.used.lock();
        let mut state = file.state.lock();
        if state.is_idle() && !state.gone {
            state.gone = true;
            files.remove(&file.ino);
        }
    }

    /// The file has dirty data.
    pub(crate) fn mark_dirty(&self, file: &Arc<File>) {
        // An older life of the inode may still stand there; it is clean.
        self.dirty.lock().insert(file.ino, Arc::clone(file));
    }

    /// The files that have dirty data; forgets those that have none any more.
    pub(crate) fn dirty(&self) -> Vec<Arc<File>> {
        let mut clean = Vec::new();
        let mut dirty = self.dirty.lock();
        dirty.retain(|_, file| {
            let keep = file.state.lock().is_dirty();
            if !keep {
                clean.push(Arc::clone(file));
            }
            keep
        });
        let found = dirty.values().cloned().collect();
        drop(dirty);
        for file in &clean {
            self.forget_idle(file);
        }
        found
    }

    /// Remembers how a file looked when it was closed; `None` if the kernel has pages
    /// that are not what it looks like.
    pub(crate) fn remember(
        &self,
        ino: Ino,
        attr: Option<&Attr>,
        told: Option<Instant>,
        asked: Asked,
    ) {
        let mut closed = self.closed.lock();
        let Some(attr) = attr else {
            closed.remove(&ino);
            return;
        };
        if closed.len() >= MAX_CLOSED {
            closed.clear();
        }
        let attr = attr.clone();
        closed.insert(ino, Closed { attr, told, asked });
    }

    /// Whether a file still looks as it did when it was closed.
    pub(crate) fn unchanged(&self, ino: Ino, attr: &Attr) -> bool {
        let closed = self.closed.lock();
        let same =
            |known: &Closed| (known.attr.mtime, known.attr.length) == (attr.mtime, attr.length);
        closed.get(&ino).is_some_and(same)
    }

    /// What the engine told of a closed file and when, if that is not longer ago than
    /// `trust`, and when it was asked at the latest.
    pub(crate) fn recall(&self, ino: Ino, trust: Duration) -> Option<(Attr, Instant, Asked)> {
        let closed = self.closed.lock();
        let known = closed.get(&ino)?;
        let told = known.told.filter(|told| told.elapsed() < trust)?;
        Some((known.attr.clone(), told, known.asked))
    }

    /// How many files are in use.
    pub(crate) fn len(&self) -> usize {
        self.used.lock().len()
    }
}
