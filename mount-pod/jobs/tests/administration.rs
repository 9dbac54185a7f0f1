//! Garbage and losses over a real SQLite engine and a directory as store.
#![allow(clippy::unwrap_used)]

use std::{path::PathBuf, sync::Arc, time::Duration};

use carafe_jobs::{DataCheck, Gc, GcOptions, GcReport};
use carafe_meta::{Admin, Call, ConnectOptions, NewNode, SliceCommit, connect_admin};
use carafe_object::{File, ObjectStore};
use carafe_types::{BlockKey, Format, Ino, ManualClock, Slice, SliceId, Timestamp};

struct Volume {
    meta: Arc<dyn Admin>,
    store: Arc<dyn ObjectStore>,
    clock: Arc<ManualClock>,
    database: PathBuf,
    _dir: tempfile::TempDir,
}

fn setting() -> Format {
    Format {
        name: "garbage".into(),
        uuid: "6d1f3a52-8a0b-4c8b-9a52-0b8f3a526d1f".into(),
        block_size: 64,
        trash_days: 0,
        ..Format::default()
    }
}

async fn volume() -> Volume {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("meta.db");
    let url = format!("sqlite3://{}", database.display());
    let meta = connect_admin(&url, None, ConnectOptions::default()).await;
    let meta = meta.unwrap();
    let call = Call::internal();
    meta.format(&call, &setting(), false).await.unwrap();
    let bucket = format!("{}/objects/", dir.path().display());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let start = Timestamp {
        secs: now.unwrap().as_secs() as i64,
        nanos: 0,
    };
    Volume {
        meta,
        store: Arc::new(File::new(&bucket)),
        clock: Arc::new(ManualClock::new(start)),
        database,
        _dir: dir,
    }
}

impl Volume {
    async fn put(&self, slice: SliceId, len: u32) {
        let key = BlockKey {
            slice,
            index: 0,
            size: len,
        };
        let bytes = bytes::Bytes::from(vec![1; len as usize]);
        let key = key.object_key(false);
        self.store.put(&key, bytes.into()).await.unwrap();
    }

    /// A file of one block.
    async fn file(&self, name: &[u8], len: u32) -> (Ino, SliceId) {
        let call = Call::internal();
        let node = NewNode::default();
        let made = self.meta.create(&call, Ino::ROOT, name, &node).await;
        let (ino, _) = made.unwrap();
        let slice = self.meta.take_slice_ids(&call).await.unwrap().next;
        self.put(slice, len).await;
        let commit = SliceCommit {
            ino,
            index: 0,
            slice: Slice::whole(0, slice, len),
            mtime: Timestamp::default(),
        };
        self.meta.commit(&call, &[commit]).await.unwrap();
        (ino, slice)
    }

    async fn gc(&self, delete: bool) -> GcReport {
        let gc = Gc::new(self.meta.clone(), self.store.clone(), self.clock.clone());
        let options = GcOptions {
            delete,
            ..GcOptions::default()
        };
        gc.run(options).await.unwrap()
    }

    async fn lost(&self) -> Vec<Ino> {
        let check = DataCheck::new(self.meta.clone(), self.store.clone(), setting());
        let report = check.run().await.unwrap();
        report.losses().map(|lost| lost.ino).collect()
    }

    async fn objects(&self) -> usize {
        self.store.list("", "", 1000).await.unwrap().objects.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_old_objects_without_a_slice_are_leaked() {
    let volume = volume().await;
    volume.file(b"kept", 100).await;
    volume.put(SliceId(900_000), 50).await;
    let young = volume.gc(true).await;
    assert_eq!((young.valid.number, young.skipped.number), (1, 1));
    assert_eq!((young.leaked.number, volume.objects().await), (0, 2));
    volume.clock.advance(Duration::from_secs(3700));
    let looked = volume.gc(false).await;
    assert_eq!((looked.leaked.number, looked.leaked.bytes), (1, 50));
    assert_eq!(volume.objects().await, 2, "nothing is deleted unasked");
    let deleted = volume.gc(true).await;
    assert_eq!((deleted.leaked_removed, volume.objects().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_file_goes_after_an_hour() {
    let volume = volume().await;
    volume.file(b"gone", 100).await;
    let call = Call::internal();
    volume.meta.unlink(&call, Ino::ROOT, b"gone").await.unwrap();
    let young = volume.gc(true).await;
    assert_eq!((young.deleted_files.number, young.files_removed), (1, 0));
    assert_eq!(volume.objects().await, 1, "others may have it open");
    let age = "UPDATE jfs_delfile SET expire = expire - 7200";
    let database = rusqlite::Connection::open(&volume.database).unwrap();
    database.execute(age, []).unwrap();
    let old = volume.gc(true).await;
    assert_eq!((old.files_removed, old.slices_removed), (1, 1));
    assert_eq!((old.deleted_files.number, volume.objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_block_counts_for_files_with_names() {
    let volume = volume().await;
    let (file, slice) = volume.file(b"file", 100).await;
    let (_, other) = volume.file(b"gone", 100).await;
    assert!(volume.lost().await.is_empty());
    for slice in [slice, other] {
        let key = BlockKey {
            slice,
            index: 0,
            size: 100,
        };
        let key = key.object_key(false);
        volume.store.delete(&key).await.unwrap();
    }
    let call = Call::internal();
    volume.meta.unlink(&call, Ino::ROOT, b"gone").await.unwrap();
    assert_eq!(volume.lost().await, [file]);
}
