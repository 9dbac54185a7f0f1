//! The engines under test, each on a fresh volume.

use std::sync::Arc;

use carafe_meta::{Admin, Call, ConnectOptions, NewNode, SessionInfo, connect_admin};
use carafe_testkit::{Etcd, MariaDb, Postgres, Redis, RedisCluster};
use carafe_types::{Attr, FileType, Format, Ino, SessionId};

/// A volume on one engine, with one client that has a session.
pub(crate) struct Volume {
    pub(crate) meta: Arc<dyn Admin>,
    pub(crate) url: String,
    pub(crate) session: SessionId,
    _dir: Option<tempfile::TempDir>,
    _redis: Option<Redis>,
}

impl Volume {
    /// The call of a user of this client.
    pub(crate) fn call(&self) -> Call {
        Call {
            session: self.session,
            ..Call::internal()
        }
    }

    /// As another user.
    pub(crate) fn user(&self, uid: u32) -> Call {
        Call {
            uid,
            gid: uid,
            ..self.call()
        }
    }

    /// Another client of the same volume, with a session of its own.
    pub(crate) async fn second(&self) -> (Arc<dyn Admin>, Call) {
        let meta = connect_admin(&self.url, None, ConnectOptions::default())
            .await
            .unwrap();
        let session = meta
            .new_session(&Call::internal(), &SessionInfo::default())
            .await
            .unwrap();
        (
            meta,
            Call {
                session,
                ..Call::internal()
            },
        )
    }

    pub(crate) async fn file(&self, parent: Ino, name: &str) -> (Ino, Attr) {
        self.make(parent, name, FileType::File).await
    }

    pub(crate) async fn dir(&self, parent: Ino, name: &str) -> Ino {
        self.make(parent, name, FileType::Directory).await.0
    }

    async fn make(&self, parent: Ino, name: &str, kind: FileType) -> (Ino, Attr) {
        let node = NewNode {
            kind,
            mode: 0o755,
            ..NewNode::default()
        };
        self.meta
            .create(&self.call(), parent, name.as_bytes(), &node)
            .await
            .unwrap()
    }

    /// All names of a directory, sorted.
    pub(crate) async fn names(&self, dir: Ino) -> Vec<String> {
        let mut names = Vec::new();
        let mut cursor = carafe_meta::Cursor(0);
        loop {
            let page = self
                .meta
                .readdir(&self.call(), dir, cursor, 7, false)
                .await
                .unwrap();
            for entry in page.entries {
                cursor = entry.next;
                names.push(String::from_utf8(entry.name).unwrap());
            }
            if page.end {
                names.sort();
                return names;
            }
        }
    }

    /// Bytes and inodes that the volume counts.
    pub(crate) async fn used(&self) -> (u64, u64) {
        let stat = self.meta.statfs(&self.call(), Ino::ROOT).await.unwrap();
        (stat.total_bytes - stat.free_bytes, stat.used_inodes)
    }
}

/// The setting of a test's volume.
pub(crate) fn format(trash_days: u32) -> Format {
    Format {
        name: "conform".into(),
        uuid: "6d1f3a52-8a0b-4c8b-9a52-0b8f3a526d1f".into(),
        bucket: "/tmp/conform".into(),
        trash_days,
        ..Format::default()
    }
}

/// A fresh volume on SQLite.
pub(crate) async fn sqlite(format: &Format) -> Volume {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite3://{}/meta.db", dir.path().display());
    open(url, format, Some(dir), None).await
}

/// A fresh volume on Redis.
pub(crate) async fn redis(format: &Format) -> Volume {
    let redis = Redis::start();
    open(redis.url(1), format, None, Some(redis)).await
}

/// A fresh volume in a Redis Cluster.
pub(crate) async fn cluster(format: &Format) -> Volume {
    open(RedisCluster::shared().fresh_url(), format, None, None).await
}

/// A fresh volume on PostgreSQL.
pub(crate) async fn postgres(format: &Format) -> Volume {
    open(Postgres::shared().fresh_schema(), format, None, None).await
}

/// A fresh volume on MariaDB.
pub(crate) async fn mysql(format: &Format) -> Volume {
    let server = MariaDb::shared();
    open(server.url(&server.fresh()), format, None, None).await
}

/// A fresh volume on etcd.
pub(crate) async fn etcd(format: &Format) -> Volume {
    open(Etcd::fresh_url(), format, None, None).await
}

async fn open(
    url: String,
    format: &Format,
    dir: Option<tempfile::TempDir>,
    redis: Option<Redis>,
) -> Volume {
    let meta = connect_admin(&url, None, ConnectOptions::default())
        .await
        .unwrap();
    meta.format(&Call::internal(), format, false).await.unwrap();
    let session = meta
        .new_session(&Call::internal(), &SessionInfo::default())
        .await
        .unwrap();
    Volume {
        meta,
        url,
        session,
        _dir: dir,
        _redis: redis,
    }
}

/// Makes a test of each engine from a function of a volume.
macro_rules! on_every_engine {
    ($($(#[$meta:meta])* $name:ident ($format:expr);)*) => {$(
        mod $name {
            use super::*;

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name(crate::engines::sqlite(&$format).await).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_redis() {
                super::$name(crate::engines::redis(&$format).await).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_cluster() {
                super::$name(crate::engines::cluster(&$format).await).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(crate::engines::postgres(&$format).await).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mysql() {
                super::$name(crate::engines::mysql(&$format).await).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_etcd() {
                super::$name(crate::engines::etcd(&$format).await).await;
            }
        }
    )*};
}
pub(crate) use on_every_engine;

/// The same, of those engines that can show one state of the database for a while.
macro_rules! on_engines_with_states {
    ($($name:ident ($format:expr);)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name(crate::engines::sqlite(&$format).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(crate::engines::postgres(&$format).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mysql() {
                super::$name(crate::engines::mysql(&$format).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_etcd() {
                super::$name(crate::engines::etcd(&$format).await).await;
            }
        }
    )*};
}
pub(crate) use on_engines_with_states;
