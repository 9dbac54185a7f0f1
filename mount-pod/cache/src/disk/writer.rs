//! The thread that writes a directory: blocks come in, and go to make room.
//!
//! Order matters here and only here: bytes first, then checksums, then the record,
//! then the entry in memory. Removal goes the other way round. Whatever a crash
//! leaves undone is at worst a block that does not agree with its checksums.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use carafe_types::BlockKey;

use super::{
    index::{Index, Removed, pack, unpack},
    records::{Opened, Record, Records},
    shared::Shared,
    space::Floor,
};
use crate::checksums;

/// How often the lock of another process is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(300);
/// How many writes may fail in a row before a directory is left alone.
const FAILURES: u32 = 20;

/// What the thread is asked to do.
pub(super) enum Job {
    /// Write a block that stands in the queue.
    Write(BlockKey),
    /// Free what belonged to a block that is out of the index.
    Free(Removed),
    /// Say that everything before is done.
    Settle(Sender<()>),
}

/// Runs until the last sender is gone.
pub(super) fn run(shared: &Arc<Shared>, jobs: &Receiver<Job>, floor: f64) {
    let records = match attach(shared, jobs) {
        Ok(Some(records)) => records,
        Ok(None) => return,
        Err(error) => return give_up(shared, jobs, &error),
    };
    let mut writer = Writer {
        shared: Arc::clone(shared),
        records,
        floor: Floor::new(floor),
        failures: 0,
    };
    while let Ok(job) = jobs.recv() {
        writer.work(job);
    }
}

/// Takes the lock and reads the records. `None` if the cache was closed before that.
fn attach(shared: &Arc<Shared>, jobs: &Receiver<Job>) -> io::Result<Option<Arc<Records>>> {
    loop {
        match Records::open(&shared.root, shared.block_size)? {
            Opened::Busy => {}
            Opened::Ours(records, usable) => return load(shared, records, usable).map(Some),
        }
        thread::sleep(LOCK_PAUSE);
        loop {
            match jobs.try_recv() {
                Ok(job) => decline(shared, job),
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return Ok(None),
            }
        }
    }
}

fn load(shared: &Arc<Shared>, records: Records, usable: bool) -> io::Result<Arc<Records>> {
    if !usable {
        shared.files.discard_all();
    }
    let mut index = Index::with_room(records.count()?);
    records.read_all(|record| index.load(record))?;
    let records = Arc::new(records);
    shared.begin(index, Arc::clone(&records));
    Ok(records)
}

fn give_up(shared: &Arc<Shared>, jobs: &Receiver<Job>, error: &io::Error) {
    tracing::warn!(directory = %shared.name, %error, "the cache directory cannot be used; going on without it");
    while let Ok(job) = jobs.recv() {
        decline(shared, job);
    }
}

fn decline(shared: &Shared, job: Job) {
    match job {
        Job::Write(key) => drop(shared.take_queued(key)),
        Job::Free(_) => {}
        // Whoever waited may be gone.
        Job::Settle(done) => drop(done.send(())),
    }
}

struct Writer {
    shared: Arc<Shared>,
    records: Arc<Records>,
    floor: Floor,
    failures: u32,
}

impl Writer {
    fn work(&mut self, job: Job) {
        let result = match job {
            Job::Write(key) if self.failures < FAILURES => self.write(key),
            Job::Free(removed) => self.free(removed),
            declined => return decline(&self.shared, declined),
        };
        match result {
            Ok(()) => self.failures = 0,
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.failures += 1;
        tracing::debug!(directory = %self.shared.name, %error, "a cache write failed");
        if self.failures == FAILURES {
            tracing::warn!(directory = %self.shared.name, %error, "the cache directory takes no more blocks");
        }
        if error.kind() == io::ErrorKind::StorageFull {
            // Others use this disk too: a tenth of what we have makes them room.
            let bytes = self.shared.bytes() / 10;
            let _ = self.evict(bytes);
        }
    }

    fn write(&mut self, key: BlockKey) -> io::Result<()> {
        let Some(parts) = self.shared.queued(key) else {
            return Ok(());
        };
        let written = self
            .make_room(u64::from(key.size))
            .and_then(|()| self.store(key, &parts));
        self.shared.take_queued(key);
        written
    }

    fn store(&self, key: BlockKey, parts: &[Bytes]) -> io::Result<()> {
        let Some(block) = pack(key) else {
            return Ok(());
        };
        let Some(slot) = self.shared.claim_slot(block) else {
            return Ok(());
        };
        let stored = self.fill(slot, block, key, parts);
        self.shared
            .settle_slot(slot, stored.is_ok().then_some((block, key.size)));
        stored
    }

    fn fill(&self, slot: u32, block: u64, key: BlockKey, parts: &[Bytes]) -> io::Result<()> {
        self.shared.files.write(key.slice, key.index, parts)?;
        self.records.write_sums(slot, &checksums(parts))?;
        self.records.write(
            slot,
            Record {
                block,
                size: key.size,
            },
        )
    }

    fn make_room(&mut self, more: u64) -> io::Result<()> {
        let for_floor = self.floor.excess(&self.shared.root, more)?;
        let for_capacity = (self.shared.bytes() + more).saturating_sub(self.shared.capacity);
        self.evict(for_floor.max(for_capacity))?;
        while self.shared.blocks() >= self.shared.most_blocks && self.evict_one()?.is_some() {}
        if for_floor > 0 && self.shared.blocks() == 0 {
            return Err(io::Error::other(
                "the disk is fuller than the free-space floor allows",
            ));
        }
        Ok(())
    }

    fn evict(&self, bytes: u64) -> io::Result<()> {
        let mut gone = 0;
        while gone < bytes {
            match self.evict_one()? {
                Some(size) => gone += u64::from(size),
                None => break,
            }
        }
        Ok(())
    }

    fn evict_one(&self) -> io::Result<Option<u32>> {
        let Some(removed) = self.shared.evict() else {
            return Ok(None);
        };
        self.free(removed)?;
        Ok(Some(removed.size))
    }

    fn free(&self, removed: Removed) -> io::Result<()> {
        let (slice, index) = unpack(removed.block);
        let cleared = self.records.write(removed.slot, Record::default());
        self.shared.settle_slot(removed.slot, None);
        cleared?;
        match self.shared.files.free(slice, index, removed.size) {
            // Somebody deleted it: then that is done.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}
