//! The real `juicefs` on the same volume: formatted by one, used by both.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod juicefs;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use carafe_meta::{
    Call, ConnectOptions, Cursor, Meta, NewNode, NewVolume, Quota, RenameFlags, SessionInfo,
    SetAttr, SliceCommit, XattrMode, connect,
};
use carafe_testkit::{Etcd, MariaDb, Postgres, Redis};
use carafe_types::{BlockKey, FileType, Format, Ino, Slice, SliceId, Timestamp};

use crate::juicefs::Juicefs;

/// A volume that both use.
struct Shared {
    meta: Arc<dyn Meta>,
    call: Call,
    juicefs: Juicefs,
    _redis: Option<Redis>,
}

enum Formats {
    Us,
    Juicefs,
}

async fn on_sqlite(who: Formats) -> Shared {
    let juicefs = Juicefs::new(|dir| format!("sqlite3://{}/meta.db", dir.display()));
    shared(juicefs, None, who).await
}

async fn on_redis(who: Formats) -> Shared {
    let redis = Redis::start();
    let juicefs = Juicefs::new(|_| redis.url(2));
    shared(juicefs, Some(redis), who).await
}

async fn on_postgres(who: Formats) -> Shared {
    let juicefs = Juicefs::new(|_| Postgres::shared().fresh());
    shared(juicefs, None, who).await
}

/// With the names that a schema and a prefix make.
async fn on_a_schema(who: Formats) -> Shared {
    let url = format!("{}&table_prefix=v1", Postgres::shared().fresh_schema());
    shared(Juicefs::new(|_| url), None, who).await
}

async fn on_mysql(who: Formats) -> Shared {
    let server = MariaDb::shared();
    let juicefs = Juicefs::new(|_| server.peer_url(&server.fresh()));
    shared(juicefs, None, who).await
}

async fn on_etcd(who: Formats) -> Shared {
    let juicefs = Juicefs::new(|_| Etcd::fresh_url());
    shared(juicefs, None, who).await
}

async fn shared(juicefs: Juicefs, redis: Option<Redis>, who: Formats) -> Shared {
    if matches!(who, Formats::Juicefs) {
        juicefs.format();
    }
    let meta = connect(juicefs.url(), None, ConnectOptions::default())
        .await
        .unwrap();
    if matches!(who, Formats::Us) {
        let bucket = format!("{}/", juicefs.store().display());
        let uuid = "1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b".into();
        let format = Format {
            name: "vol".into(),
            uuid,
            bucket,
            trash_days: 1,
            ..Format::default()
        };
        meta.format(&Call::internal(), &format, false)
            .await
            .unwrap();
    }
    let info = SessionInfo {
        version: "1.3.1+carafe".into(),
        mount_time: "2026-01-02T03:04:05Z".into(),
        ..SessionInfo::default()
    };
    let session = meta.new_session(&Call::internal(), &info).await.unwrap();
    Shared {
        meta,
        call: Call {
            session,
            ..Call::internal()
        },
        juicefs,
        _redis: redis,
    }
}

impl Shared {
    async fn make(&self, parent: Ino, name: &str, kind: FileType) -> Ino {
        let node = NewNode {
            kind,
            mode: 0o750,
            ..NewNode::default()
        };
        self.meta
            .create(&self.call, parent, name.as_bytes(), &node)
            .await
            .unwrap()
            .0
    }

    /// Writes a file of one block, object and slice.
    async fn write(&self, parent: Ino, name: &str, content: &[u8]) -> Ino {
        let ino = self.make(parent, name, FileType::File).await;
        let id = self.meta.take_slice_ids(&self.call).await.unwrap().next;
        self.put(id, content);
        let slice = Slice::whole(0, id, content.len() as u32);
        let commit = SliceCommit {
            ino,
            index: 0,
            slice,
            mtime: Timestamp {
                secs: 1_700_000_000,
                nanos: 0,
            },
        };
        self.meta.commit(&self.call, &[commit]).await.unwrap()[0]
            .1
            .as_ref()
            .unwrap();
        ino
    }

    fn put(&self, slice: SliceId, content: &[u8]) {
        let key = BlockKey {
            slice,
            index: 0,
            size: content.len() as u32,
        }
        .object_key(false);
        let path = self.juicefs.store().join("vol").join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A tree with everything that the format holds.
    async fn write_tree(&self) {
        let (meta, call) = (&self.meta, &self.call);
        let dir = self.make(Ino::ROOT, "dir", FileType::Directory).await;
        let sub = self.make(dir, "sub", FileType::Directory).await;
        let file = self.write(dir, "file", b"written by carafe").await;
        meta.link(call, file, sub, b"linked").await.unwrap();
        meta.setxattr(call, file, b"user.colour", b"blue", XattrMode::Any)
            .await
            .unwrap();
        let link = NewNode {
            kind: FileType::Symlink,
            mode: 0o777,
            target: b"dir/file".to_vec(),
            ..NewNode::default()
        };
        meta.create(call, Ino::ROOT, b"link", &link).await.unwrap();
        self.make(dir, "pipe", FileType::Fifo).await;
        let holey = self.write(dir, "holey", b"head").await;
        meta.setattr(
            call,
            holey,
            &SetAttr {
                size: Some(100_000_000),
                ..SetAttr::default()
            },
        )
        .await
        .unwrap();
        let copy = self.make(dir, "copy", FileType::File).await;
        meta.copy_range(call, file, 0, copy, 0, 100).await.unwrap();
        self.write(dir, "gone", b"into the trash").await;
        meta.unlink(call, dir, b"gone").await.unwrap();
        self.write(dir, "moved", b"moved").await;
        meta.rename(call, dir, b"moved", sub, b"here", RenameFlags::None)
            .await
            .unwrap();
        self.make(dir, "empty", FileType::Directory).await;
        meta.rmdir(call, dir, b"empty").await.unwrap();
        meta.set_quota(
            call,
            dir,
            Quota {
                max_bytes: 1 << 30,
                max_inodes: 100,
            },
        )
        .await
        .unwrap();
        let volume = NewVolume {
            id: "pv-1".into(),
            path: "claims/pv-1".into(),
            capacity: 1 << 20,
            mode: 0o777,
            ..NewVolume::default()
        };
        meta.create_volume(call, &volume).await.unwrap();
        let volume = NewVolume {
            id: "pv-2".into(),
            path: "claims/pv-2".into(),
            ..volume
        };
        meta.create_volume(call, &volume).await.unwrap();
        meta.delete_volume(call, "pv-2").await.unwrap();
    }

    async fn names(&self, dir: Ino) -> Vec<String> {
        let page = self
            .meta
            .readdir(&self.call, dir, Cursor(0), 100_000, false)
            .await
            .unwrap();
        let mut names: Vec<_> = page
            .entries
            .into_iter()
            .map(|entry| String::from_utf8(entry.name).unwrap())
            .collect();
        names.sort();
        names
    }
}

fn check_tree(root: &Path) {
    assert_eq!(
        fs::read(root.join("dir/file")).unwrap(),
        b"written by carafe"
    );
    assert_eq!(
        fs::read(root.join("dir/sub/linked")).unwrap(),
        b"written by carafe"
    );
    assert_eq!(
        fs::read(root.join("dir/copy")).unwrap(),
        b"written by carafe"
    );
    assert_eq!(fs::read(root.join("dir/sub/here")).unwrap(), b"moved");
    assert_eq!(
        fs::read_link(root.join("link")).unwrap(),
        Path::new("dir/file")
    );
    assert_eq!(fs::read(root.join("link")).unwrap(), b"written by carafe");
    let file = fs::metadata(root.join("dir/file")).unwrap();
    assert_eq!(
        (file.permissions().mode() & 0o7777, file.modified().unwrap()),
        (
            0o750,
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)
        )
    );
    let holey = fs::read(root.join("dir/holey")).unwrap();
    assert!(
        holey.len() == 100_000_000
            && holey.starts_with(b"head\0")
            && holey[4..].iter().all(|&byte| byte == 0)
    );
    let mut value = [0; 10];
    let len = rustix::fs::getxattr(root.join("dir/file"), "user.colour", &mut value).unwrap();
    assert_eq!(&value[..len], b"blue");
    let mut names: Vec<_> = fs::read_dir(root.join("dir"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["copy", "file", "holey", "pipe", "sub"]);
}

/// All that `juicefs` offers to check a volume finds nothing.
async fn what_we_write_is_right_for_juicefs(volume: Shared) {
    volume.write_tree().await;
    volume.juicefs.check();
    let dump = volume.juicefs.dump();
    for expected in ["written-by", "\"linked\"", "user.colour", "\"pv-1\"", "1-"] {
        let expected = if expected == "written-by" {
            "\"holey\""
        } else {
            expected
        };
        assert!(dump.contains(expected), "{expected} in {dump}");
    }
    assert!(
        volume.juicefs.run(&["status"]).contains("1.3.1+carafe"),
        "our session shows"
    );
    let quotas = volume.juicefs.run(&["quota", "list"]);
    assert!(
        quotas.contains("/dir") && quotas.contains("/claims/pv-1"),
        "{quotas}"
    );
    for path in ["/dir", "/claims/pv-1"] {
        volume
            .juicefs
            .run_with(&["quota", "check"], &["--path", path, "--strict"]);
    }
    volume.juicefs.run_with(
        &["fsck"],
        &["--path", "/", "--recursive", "--sync-dir-stat"],
    );
    let mounted = volume.juicefs.mount();
    check_tree(mounted.path());
}

/// `juicefs` and we change one volume at once.
async fn both_write_at_once(volume: Shared) {
    let mounted = volume.juicefs.mount();
    let root = mounted.path().to_owned();
    let theirs = tokio::task::spawn_blocking(move || {
        fs::create_dir(root.join("theirs")).unwrap();
        for number in 0..200 {
            let path = root.join(format!("theirs/{number}"));
            fs::write(&path, format!("content {number}")).unwrap();
            fs::rename(&path, root.join(format!("both-{number}-theirs"))).unwrap();
        }
        for number in 0..200 {
            if number % 2 == 0 {
                fs::remove_file(root.join(format!("both-{number}-theirs"))).unwrap();
            }
        }
    });
    for number in 0..200 {
        let name = format!("both-{number}-ours");
        volume
            .write(Ino::ROOT, &name, format!("content {number}").as_bytes())
            .await;
        if number % 2 == 0 {
            volume
                .meta
                .unlink(&volume.call, Ino::ROOT, name.as_bytes())
                .await
                .unwrap();
        }
    }
    theirs.await.unwrap();
    let names = volume.names(Ino::ROOT).await;
    assert_eq!(names.len(), 201, "{names:?}");
    for number in (1..200).step_by(2) {
        let name = format!("both-{number}-ours");
        assert_eq!(
            fs::read_to_string(mounted.path().join(&name)).unwrap(),
            format!("content {number}")
        );
        let theirs = format!("both-{number}-theirs");
        let (_, attr) = volume
            .meta
            .lookup(&volume.call, Ino::ROOT, theirs.as_bytes())
            .await
            .unwrap();
        assert_eq!(attr.length, format!("content {number}").len() as u64);
    }
    drop(mounted);
    volume.juicefs.check();
}

/// What `juicefs` wrote is read with all that it has.
async fn what_juicefs_writes_is_right_for_us(volume: Shared) {
    let (meta, call) = (&volume.meta, &volume.call);
    let mounted = volume.juicefs.mount();
    let root = mounted.path();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/f"), b"by juicefs").unwrap();
    fs::hard_link(root.join("a/f"), root.join("a/b/g")).unwrap();
    std::os::unix::fs::symlink("a/f", root.join("l")).unwrap();
    rustix::fs::setxattr(
        root.join("a/f"),
        "user.x",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    fs::set_permissions(root.join("a/f"), fs::Permissions::from_mode(0o4751)).unwrap();
    let (ino, attr) = meta.resolve(call, Ino::ROOT, b"a/f").await.unwrap();
    assert_eq!(
        (attr.mode, attr.nlink, attr.length, attr.parent),
        (0o4751, 2, 10, Ino(0))
    );
    assert_eq!(
        meta.resolve(call, Ino::ROOT, b"a/b/g").await.unwrap().0,
        ino
    );
    assert_eq!(
        meta.readlink(call, meta.lookup(call, Ino::ROOT, b"l").await.unwrap().0)
            .await
            .unwrap(),
        b"a/f"
    );
    assert_eq!(meta.getxattr(call, ino, b"user.x").await.unwrap(), b"y");
    let slices = meta.read_chunk(call, ino, 0).await.unwrap();
    assert_eq!((slices.len(), slices[0].len), (1, 10));
    let sessions = meta.sessions(call).await.unwrap();
    assert!(sessions.iter().any(|session| {
        session
            .info
            .as_ref()
            .is_some_and(|info| info.mount_point == root.to_string_lossy())
    }));
    // Removed by us, the names go for the peer, too.
    meta.unlink(
        call,
        meta.resolve(call, Ino::ROOT, b"a/b").await.unwrap().0,
        b"g",
    )
    .await
    .unwrap();
    meta.unlink(
        call,
        meta.resolve(call, Ino::ROOT, b"a").await.unwrap().0,
        b"f",
    )
    .await
    .unwrap();
    drop(mounted);
    volume.juicefs.check();
}

macro_rules! with_juicefs {
    ($($name:ident, $test:ident, $engine:ident, $who:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $test($engine(Formats::$who).await).await;
        }
    )*};
}

with_juicefs! {
    our_tree_on_its_sqlite, what_we_write_is_right_for_juicefs, on_sqlite, Juicefs;
    our_tree_on_our_sqlite, what_we_write_is_right_for_juicefs, on_sqlite, Us;
    our_tree_on_its_redis, what_we_write_is_right_for_juicefs, on_redis, Juicefs;
    our_tree_on_our_redis, what_we_write_is_right_for_juicefs, on_redis, Us;
    our_tree_on_its_etcd, what_we_write_is_right_for_juicefs, on_etcd, Juicefs;
    our_tree_on_our_etcd, what_we_write_is_right_for_juicefs, on_etcd, Us;
    its_tree_on_our_sqlite, what_juicefs_writes_is_right_for_us, on_sqlite, Us;
    its_tree_on_our_redis, what_juicefs_writes_is_right_for_us, on_redis, Us;
    its_tree_on_our_etcd, what_juicefs_writes_is_right_for_us, on_etcd, Us;
    both_on_sqlite, both_write_at_once, on_sqlite, Us;
    both_on_redis, both_write_at_once, on_redis, Us;
    our_tree_on_its_postgres, what_we_write_is_right_for_juicefs, on_postgres, Juicefs;
    our_tree_on_our_postgres, what_we_write_is_right_for_juicefs, on_postgres, Us;
    its_tree_on_our_postgres, what_juicefs_writes_is_right_for_us, on_postgres, Us;
    both_on_postgres, both_write_at_once, on_postgres, Us;
    our_tree_in_its_schema, what_we_write_is_right_for_juicefs, on_a_schema, Juicefs;
    its_tree_in_our_schema, what_juicefs_writes_is_right_for_us, on_a_schema, Us;
    our_tree_on_its_mysql, what_we_write_is_right_for_juicefs, on_mysql, Juicefs;
    our_tree_on_our_mysql, what_we_write_is_right_for_juicefs, on_mysql, Us;
    its_tree_on_our_mysql, what_juicefs_writes_is_right_for_us, on_mysql, Us;
    both_on_mysql, both_write_at_once, on_mysql, Us;
    both_on_etcd, both_write_at_once, on_etcd, Us;
}
