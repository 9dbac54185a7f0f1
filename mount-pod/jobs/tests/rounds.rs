//! Rounds over a real SQLite engine and a store in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use carafe_jobs::{Budget, Jobs, Report};
use carafe_meta::{Call, ConnectOptions, Meta, connect};
use carafe_object::{Memory, ObjectStore};
use carafe_types::{BlockKey, Format, SliceId};
use tokio_util::sync::CancellationToken;

struct Volume {
    meta: Arc<dyn Meta>,
    store: Arc<Memory>,
    database: PathBuf,
    _dir: tempfile::TempDir,
}

async fn volume() -> Volume {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("meta.db");
    let url = format!("sqlite3://{}", database.display());
    let meta = connect(&url, None, ConnectOptions::default())
        .await
        .unwrap();
    let uuid = "6d1f3a52-8a0b-4c8b-9a52-0b8f3a526d1f".into();
    let format = Format {
        name: "jobs".into(),
        uuid,
        block_size: 64,
        ..Format::default()
    };
    meta.format(&Call::internal(), &format, false)
        .await
        .unwrap();
    let store = Arc::new(Memory::default());
    Volume {
        meta,
        store,
        database,
        _dir: dir,
    }
}

impl Volume {
    /// A slice of `size` bytes that nothing refers to, with its objects.
    async fn dead_slice(&self, id: u64, size: u32) {
        for (index, start) in (0..size).step_by(1 << 16).enumerate() {
            let len = (size - start).min(1 << 16);
            let key = BlockKey {
                slice: SliceId(id),
                index: index as u32,
                size: len,
            };
            self.store
                .put(
                    &key.object_key(false),
                    Bytes::from(vec![1; len as usize]).into(),
                )
                .await
                .unwrap();
        }
        let sql = "INSERT INTO jfs_chunk_ref (chunkid, size, refs) VALUES (?1, ?2, 0)";
        rusqlite::Connection::open(&self.database)
            .unwrap()
            .execute(sql, (id as i64, size))
            .unwrap();
    }

    async fn objects(&self) -> usize {
        self.store.list("", "", 1000).await.unwrap().objects.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_slices_lose_their_objects_in_steps() {
    let volume = volume().await;
    for id in 1..=5 {
        volume.dead_slice(id, 100_000).await;
    }
    assert_eq!(volume.objects().await, 10);
    let jobs = Jobs::new(volume.meta.clone(), volume.store.clone());
    let budget = Budget {
        step: 2,
        ..Budget::default()
    };
    let report = jobs.round(budget, &CancellationToken::new()).await;
    assert_eq!(
        (report.slices, report.failures.len(), report.more),
        (5, 0, false)
    );
    assert_eq!(volume.objects().await, 0);
    let again = jobs.round(budget, &CancellationToken::new()).await;
    assert_eq!(again, Report::default(), "nothing is left to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_without_time_stops_after_one_step_and_says_so() {
    let volume = volume().await;
    for id in 1..=5 {
        volume.dead_slice(id, 10).await;
    }
    let jobs = Jobs::new(volume.meta.clone(), volume.store.clone());
    let budget = Budget {
        step: 2,
        time: std::time::Duration::ZERO,
    };
    let report = jobs.round(budget, &CancellationToken::new()).await;
    assert_eq!((report.slices, report.more), (2, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_round_does_nothing() {
    let volume = volume().await;
    volume.dead_slice(1, 10).await;
    let jobs = Jobs::new(volume.meta.clone(), volume.store.clone());
    let cancel = CancellationToken::new();
    cancel.cancel();
    let report = jobs.round(Budget::default(), &cancel).await;
    assert_eq!(
        (report.slices, report.more, volume.objects().await),
        (0, true, 1)
    );
}
