//! Making volumes over a real SQLite engine and a store in memory.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use carafe_jobs::{FormatFailure, Formatting, format_volume};
use carafe_meta::{Call, ConnectOptions, Meta, connect};
use carafe_object::{Memory, ObjectStore, read_uuid};
use carafe_types::{Error, Format};

struct Place {
    meta: Arc<dyn Meta>,
    store: Arc<dyn ObjectStore>,
    _dir: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite3://{}/meta.db", dir.path().display());
        let meta = connect(&url, None, ConnectOptions::default()).await;
        Self {
            meta: meta.unwrap(),
            store: Arc::new(Memory::default()),
            _dir: dir,
        }
    }

    async fn format(&self, uuid: &str, how: Formatting) -> Result<(), FormatFailure> {
        let format = Format {
            name: "made".into(),
            uuid: uuid.into(),
            ..Format::default()
        };
        format_volume(
            self.meta.as_ref(),
            &self.store,
            &Call::internal(),
            &format,
            how,
        )
        .await
    }

    async fn marked(&self) -> Option<String> {
        read_uuid(&self.store).await.unwrap()
    }
}

#[tokio::test]
async fn a_new_volume_marks_its_store() {
    let place = Place::new().await;
    place.format("one", Formatting::New).await.unwrap();
    assert_eq!(place.marked().await.as_deref(), Some("one"));
    place.format("one", Formatting::Again).await.unwrap();
    place.format("two", Formatting::Replace).await.unwrap();
    assert_eq!(place.marked().await.as_deref(), Some("two"));
}

/// Somebody else formatted the engine a moment ago.
#[tokio::test]
async fn a_refused_setting_marks_no_store() {
    let place = Place::new().await;
    let theirs = Format {
        name: "theirs".into(),
        uuid: "theirs".into(),
        ..Format::default()
    };
    place
        .meta
        .format(&Call::internal(), &theirs, false)
        .await
        .unwrap();
    let refused = place.format("ours", Formatting::New).await;
    assert!(
        matches!(refused, Err(FormatFailure::Engine(Error::Exists))),
        "{refused:?}"
    );
    assert_eq!(place.marked().await, None);
}

#[tokio::test]
async fn a_new_volume_needs_an_empty_store() {
    let place = Place::new().await;
    let bytes = bytes::Bytes::from_static(b"theirs");
    place
        .store
        .put("chunks/0/0/1_0_6", bytes.into())
        .await
        .unwrap();
    let refused = place.format("ours", Formatting::New).await;
    assert!(
        matches!(refused, Err(FormatFailure::NotEmpty(_))),
        "{refused:?}"
    );
    let loaded = place.meta.load(&Call::internal()).await;
    assert_eq!(loaded, Err(Error::NotFound), "nor was the engine touched");
}
