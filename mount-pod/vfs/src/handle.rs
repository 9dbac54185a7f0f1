//! Open handles by number, each with its record in the region.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use carafe_state::{Entry, HandleRecord, IdKind, Region, Table};
use carafe_types::{Error, Ino, Result};
use parking_lot::{Mutex, RwLock};

use crate::{OpenFlags, file::File, operations::Listener, page::Page, reader::ahead::Ahead};

/// An open file or directory.
pub(crate) struct Handle {
    /// The inode as the kernel knows it.
    pub(crate) ino: Ino,
    pub(crate) flags: OpenFlags,
    pub(crate) kind: Kind,
    /// How many of the file's losses it was told of.
    losses: AtomicU64,
    record: Mutex<(Entry<HandleRecord>, HandleRecord)>,
}

/// What a handle is open on.
pub(crate) enum Kind {
    File {
        file: Arc<File>,
        ahead: Arc<Ahead>,
    },
    /// With the entries of the last page that the caller had no room for.
    Directory {
        ino: Ino,
        left: Mutex<Option<Page>>,
    },
    Virtual(Content),
}

/// What a virtual file reads as.
pub(crate) enum Content {
    /// As it was when it was opened.
    Text(Bytes),
    /// What is heard from then on.
    Log(Arc<Listener>),
}

impl Content {
    pub(crate) async fn read(&self, offset: u64, len: usize) -> Bytes {
        match self {
            Self::Text(text) => {
                let start = (offset as usize).min(text.len());
                text.slice(start..(start + len).min(text.len()))
            }
            Self::Log(listener) => listener.read(len).await,
        }
    }
}

impl Handle {
    /// The file that it is open on.
    pub(crate) fn file(&self) -> Result<(&Arc<File>, &Arc<Ahead>)> {
        match &self.kind {
            Kind::File { file, ahead } => Ok((file, ahead)),
            Kind::Directory { .. } => Err(Error::IsDirectory),
            Kind::Virtual(_) => Err(Error::BadHandle),
        }
    }

    /// The file's loss, if this handle was not yet told of it.
    pub(crate) fn tell_loss(&self) -> Result<()> {
        let (file, _) = self.file()?;
        let state = file.state.lock();
        let told = self.losses.swap(state.losses, Ordering::Relaxed);
        match &state.loss {
            Some(error) if told < state.losses => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

/// The table of handles.
pub(crate) struct Handles {
    open: RwLock<HashMap<u64, Arc<Handle>>>,
    records: Table<HandleRecord>,
}

impl Handles {
    pub(crate) fn new(region: &Region) -> Self {
        Self {
            open: RwLock::default(),
            records: region.handles().clone(),
        }
    }

    /// Makes a handle and publishes it.
    pub(crate) fn open(
        &self,
        region: &Region,
        ino: Ino,
        flags: OpenFlags,
        kind: Kind,
    ) -> Result<u64> {
        let record = HandleRecord {
            handle: next_number(region)?,
            inode: ino.0,
            flags: flags.0,
            directory: u32::from(matches!(kind, Kind::Directory { .. })),
            ..HandleRecord::default()
        };
        let entry = self
            .records
            .insert(&record)
            .map_err(|_| Error::Io("too many open files on this mount".into()))?;
        Ok(self.adopt(entry, record, kind))
    }

    /// Takes over a handle whose record is published.
    pub(crate) fn adopt(
        &self,
        entry: Entry<HandleRecord>,
        record: HandleRecord,
        kind: Kind,
    ) -> u64 {
        let losses = match &kind {
            Kind::File { file, .. } => file.state.lock().losses,
            Kind::Directory { .. } | Kind::Virtual(_) => 0,
        };
        let handle = Handle {
            ino: Ino(record.inode),
            flags: OpenFlags(record.flags),
            kind,
            losses: AtomicU64::new(losses),
            record: Mutex::new((entry, record)),
        };
        self.open.write().insert(record.handle, Arc::new(handle));
        record.handle
    }

    /// The handle with this number, if it is open on this inode.
    pub(crate) fn find(&self, ino: Ino, number: u64) -> Result<Arc<Handle>> {
        let handle = self
            .open
            .read()
            .get(&number)
            .cloned()
            .ok_or(Error::BadHandle)?;
        if handle.ino == ino {
            Ok(handle)
        } else {
            Err(Error::BadHandle)
        }
    }

    /// Takes a handle out; its record is retired with the last user of it.
    pub(crate) fn close(&self, ino: Ino, number: u64) -> Result<Arc<Handle>> {
        let handle = self.find(ino, number)?;
        self.open.write().remove(&number);
        Ok(handle)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.read().len()
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        // Only a mount that ends drops the table: a successor goes on with the handles.
        for (_, handle) in self.open.get_mut().drain() {
            if let Ok(handle) = Arc::try_unwrap(handle) {
                handle.record.into_inner().0.leave();
            }
        }
    }
}

fn next_number(region: &Region) -> Result<u64> {
    let ids = region.ids();
    if let Some(number) = ids.take(IdKind::Handle) {
        return Ok(number);
    }
    // No database gives these: the first worker takes all there are.
    ids.refill(IdKind::Handle, 1..i64::MAX as u64);
    ids.take(IdKind::Handle).ok_or(Error::BadHandle)
}
