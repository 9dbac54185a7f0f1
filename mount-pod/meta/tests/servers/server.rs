//! The servers under test, in one shape.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use carafe_meta::{
    Call, ConnectError, ConnectOptions, Cursor, Meta, NewNode, OpKey, RenameFlags, SessionInfo,
    connect,
};
use carafe_testkit::Faulty;
use carafe_types::{Format, Ino, SessionId};
use tokio::task::JoinHandle;

/// Longer than a refused client pauses between its first attempts.
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);

/// A server of one family, whose administrator is another user than `client`.
pub(crate) trait Server: Faulty {
    /// The URL of a place that has no volume yet, for everybody.
    fn fresh(&self) -> String;

    /// Makes the user `client`, and lets nobody in without a password from now on.
    fn make_client(&mut self, password: &str);

    /// Gives that user another password. Connections may stay.
    fn set_password(&self, password: &str);

    /// Ends that user's connections.
    fn end_connections(&self);

    /// How many that user has; `None` where nobody can tell.
    fn connections(&self) -> Option<usize>;

    /// The URL of that user's place.
    fn client_url(&self, password: &str) -> String;

    /// URLs of the same server without a login.
    fn anonymous_urls(&self) -> Vec<String>;

    /// The URL of another place, and what an error calls that.
    fn elsewhere(&self, password: &str) -> (String, &'static str);

    /// A URL of the family that says nothing usable.
    fn unusable(&self, password: &str) -> String;
}

/// A client whose mutations take effect once, also if an answer is lost.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) meta: Arc<dyn Meta>,
    pub(crate) session: SessionId,
    sequence: Arc<AtomicU64>,
}

impl Client {
    /// Of a volume that it formats.
    pub(crate) async fn new(url: &str) -> Self {
        let meta = connect(url, None, ConnectOptions::default()).await.unwrap();
        let (internal, info) = (Call::internal(), SessionInfo::default());
        meta.format(&internal, &format(), false).await.unwrap();
        let session = meta.new_session(&internal, &info).await.unwrap();
        Self {
            meta,
            session,
            sequence: Arc::default(),
        }
    }

    /// A call with a key of its own.
    pub(crate) fn call(&self) -> Call {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let session = self.session;
        let key = OpKey {
            session,
            slot: sequence as u32,
            sequence,
        };
        Call {
            session,
            key: Some(key),
            ..Call::internal()
        }
    }

    pub(crate) async fn create(&self, name: &str) {
        let (name, node) = (name.as_bytes(), NewNode::default());
        let call = self.call();
        let made = self.meta.create(&call, Ino::ROOT, name, &node);
        made.await.unwrap();
        let found = self.meta.lookup(&call, Ino::ROOT, name);
        found.await.unwrap();
    }

    pub(crate) async fn rename(&self, old: &str, new: &str) {
        let (old, new, root) = (old.as_bytes(), new.as_bytes(), Ino::ROOT);
        let (call, flags) = (self.call(), RenameFlags::NoReplace);
        let moved = self.meta.rename(&call, root, old, root, new, flags);
        moved.await.unwrap();
    }

    pub(crate) async fn unlink(&self, name: &str) {
        let call = self.call();
        let removed = self.meta.unlink(&call, Ino::ROOT, name.as_bytes());
        removed.await.unwrap();
    }

    /// How many names the root has.
    pub(crate) async fn entries(&self) -> usize {
        let (call, mut cursor, mut count) = (Call::internal(), Cursor(0), 0);
        loop {
            let page = self.meta.readdir(&call, Ino::ROOT, cursor, 500, false);
            let page = page.await.unwrap();
            count += page.entries.len();
            match page.entries.last() {
                Some(last) if !page.end => cursor = last.next,
                _ => return count,
            }
        }
    }
}

/// The setting of a test's volume.
pub(crate) fn format() -> Format {
    Format {
        name: "faults".into(),
        uuid: "u".into(),
        trash_days: 0,
        ..Format::default()
    }
}

/// Work that goes on until it is told to stop; it answers how much it did.
pub(crate) struct Busy {
    work: JoinHandle<usize>,
    stop: Arc<AtomicBool>,
}

impl Busy {
    /// Does `step` with 0, 1, 2 …
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(
        step: impl Fn(usize) -> F + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = tokio::spawn(async move {
            let mut done = 0;
            while !stopped.load(Ordering::Relaxed) {
                step(done).await;
                done += 1;
            }
            done
        });
        Self { work, stop }
    }

    /// Creates files.
    pub(crate) fn creating(client: &Client) -> Self {
        let client = client.clone();
        Self::start(move |number| {
            let client = client.clone();
            async move { client.create(&format!("busy-{number}")).await }
        })
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.work.is_finished()
    }

    /// Tells it to stop; how much it did.
    pub(crate) async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.work.await.unwrap()
    }
}

/// Why a URL cannot be opened.
pub(crate) async fn refusal(url: &str) -> ConnectError {
    let options = ConnectOptions {
        timeout: Duration::from_secs(5),
        ..ConnectOptions::default()
    };
    connect(url, None, options).await.err().unwrap()
}

/// Makes a test of each family from a function of a server.
macro_rules! on_every_server {
    ($($name:ident;)*) => {$(
        mod $name {
            use crate::{etcd, mysql, postgres, redis};

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_redis() {
                super::$name(redis::server()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(postgres::server()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mysql() {
                super::$name(mysql::server()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_etcd() {
                super::$name(etcd::server()).await;
            }
        }
    )*};
}
pub(crate) use on_every_server;
