//! Stores that fail, hang or refuse for a while: bounded waits, no wrong answer.
#![allow(clippy::unwrap_used)]

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use carafe_object::{
    Bounded, Credentials, Deadlines, Memory, Object, ObjectError, ObjectMeta, ObjectStore,
    OpenError, OpenOptions, Page, Result, RetryPolicy, Retrying, Traits, check, open_with,
};
use carafe_testkit::S3 as Server;
use carafe_types::{Format, Secret};

/// Memory whose next requests fail as it was told; `None` is one that never ends.
#[derive(Debug, Default)]
struct Moody {
    memory: Memory,
    moods: Mutex<VecDeque<Option<ObjectError>>>,
}

impl Moody {
    fn next(moods: impl IntoIterator<Item = Option<ObjectError>>) -> Arc<Self> {
        Arc::new(Self {
            moods: Mutex::new(moods.into_iter().collect()),
            ..Self::default()
        })
    }

    async fn mood(&self) -> Result<()> {
        let mood = self.moods.lock().unwrap().pop_front();
        match mood {
            Some(Some(error)) => Err(error),
            Some(None) => std::future::pending().await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl ObjectStore for Moody {
    fn describe(&self) -> String {
        "moody".into()
    }
    fn traits(&self) -> Traits {
        self.memory.traits()
    }
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        self.mood().await?;
        self.memory.get(key, range).await
    }
    async fn put(&self, key: &str, object: Object) -> Result<()> {
        self.mood().await?;
        self.memory.put(key, object).await
    }
    async fn delete(&self, key: &str) -> Result<()> {
        self.memory.delete(key).await
    }
    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.memory.head(key).await
    }
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        self.memory.list(prefix, after, limit).await
    }
    async fn create(&self) -> Result<()> {
        Ok(())
    }
    fn reload(&self, _: &Credentials) -> Result<(), OpenError> {
        Ok(())
    }
}

fn busy() -> ObjectError {
    ObjectError::Busy("503 SlowDown".into())
}

fn denied() -> ObjectError {
    ObjectError::Denied("InvalidAccessKeyId".into())
}

/// Some milliseconds where a real store has seconds.
const DEADLINES: Deadlines = Deadlines {
    floor: Duration::from_millis(20),
    slowest: 1 << 40,
    most_get: Duration::from_millis(20),
    most_put: Duration::from_millis(20),
};
const POLICY: RetryPolicy = RetryPolicy {
    attempts: 30,
    first_pause: Duration::from_millis(2),
    longest_pause: Duration::from_millis(20),
    deadline: Duration::from_millis(500),
};

fn patient(store: Arc<Moody>) -> Retrying {
    Retrying::new(Arc::new(Bounded::new(store, DEADLINES)), POLICY)
}

fn bytes() -> Object {
    Bytes::from_static(b"bytes").into()
}

#[tokio::test]
async fn what_passes_is_waited_for() {
    let store = patient(Moody::next([
        Some(busy()),
        None,
        Some(busy()),
        Some(ObjectError::Unreachable("reset".into())),
    ]));
    store.put("a", bytes()).await.unwrap();
    assert_eq!(store.get("a", None).await.unwrap().into_bytes(), "bytes");
}

#[tokio::test]
async fn what_does_not_pass_is_answered_at_once() {
    let store = patient(Moody::next([
        Some(denied()),
        Some(ObjectError::NoBucket("data".into())),
    ]));
    let begun = Instant::now();
    assert!(matches!(
        store.put("a", bytes()).await,
        Err(ObjectError::Denied(_))
    ));
    assert!(matches!(
        store.put("a", bytes()).await,
        Err(ObjectError::NoBucket(_))
    ));
    assert!(matches!(
        store.get("a", None).await,
        Err(ObjectError::NotFound(_))
    ));
    assert!(begun.elapsed() < POLICY.deadline, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_store_that_hangs_for_ever_is_given_up_in_time() {
    let store = patient(Moody::next(vec![None; 1000]));
    let begun = Instant::now();
    let error = store.get("a", None).await.unwrap_err();
    assert!(matches!(error, ObjectError::TimedOut { .. }), "{error}");
    assert!(
        begun.elapsed() < 4 * POLICY.deadline,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_refusal_after_success_is_a_rotation_under_way() {
    let moody = Moody::next([]);
    let store = patient(Arc::clone(&moody));
    store.put("a", bytes()).await.unwrap();
    moody
        .moods
        .lock()
        .unwrap()
        .extend([Some(denied()), Some(denied()), Some(denied())]);
    store.put("b", bytes()).await.unwrap();
}

/// A key is exchanged while requests run that the old one cannot answer any more.
#[tokio::test]
async fn a_rotated_key_works_on_without_a_restart() {
    let server = Server::start("data");
    let mut format = Format {
        name: "volume".into(),
        storage: "s3".into(),
        bucket: format!("{}/data", server.endpoint()),
        access_key: Server::ACCESS_KEY.into(),
        secret_key: Secret::new(Server::SECRET_KEY),
        ..Format::default()
    };
    let store = open_with(&format, OpenOptions::default()).unwrap();
    store.put("a", bytes()).await.unwrap();
    format.secret_key = Secret::new("revoked");
    store.reload(&Credentials::from(&format)).unwrap();
    let writer = Arc::clone(&store);
    let write = tokio::spawn(async move { writer.put("b", bytes()).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!write.is_finished(), "it waits for the new key");
    format.secret_key = Secret::new(Server::SECRET_KEY);
    store.reload(&Credentials::from(&format)).unwrap();
    write.await.unwrap().unwrap();
    assert_eq!(store.get("b", None).await.unwrap().into_bytes(), "bytes");
}

/// `anonymous` sends no key at all.
#[tokio::test]
async fn a_refused_key_names_the_secrets_fields() {
    let server = Server::start("data");
    for (access_key, secret_key) in [
        (Server::ACCESS_KEY, "hunter2"),
        ("nobody", "hunter2"),
        ("anonymous", ""),
        ("", ""),
    ] {
        let format = Format {
            name: "volume".into(),
            storage: "s3".into(),
            bucket: format!("{}/data", server.endpoint()),
            access_key: access_key.into(),
            secret_key: Secret::new(secret_key),
            ..Format::default()
        };
        let store = open_with(&format, OpenOptions::default()).unwrap();
        let error = check(&store).await.unwrap_err();
        assert!(
            matches!(error, ObjectError::Denied(_)),
            "{access_key:?}: {error:?}"
        );
        let said = error.to_string();
        assert!(
            said.contains("access-key") && said.contains("secret-key"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_and_comes_back_is_no_error() {
    let server = Server::start("data");
    let format = Format {
        name: "volume".into(),
        storage: "s3".into(),
        bucket: format!("{}/data", server.endpoint()),
        access_key: Server::ACCESS_KEY.into(),
        secret_key: Secret::new(Server::SECRET_KEY),
        ..Format::default()
    };
    let deadlines = Deadlines {
        floor: Duration::from_millis(200),
        slowest: 1 << 40,
        ..Deadlines::default()
    };
    let store = open_with(
        &format,
        OpenOptions {
            deadlines,
            ..OpenOptions::default()
        },
    )
    .unwrap();
    store.put("a", bytes()).await.unwrap();
    server.server().hang();
    let reader = Arc::clone(&store);
    let read = tokio::spawn(async move { reader.get("a", None).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.server().resume();
    assert_eq!(read.await.unwrap().unwrap().into_bytes(), "bytes");
}
