//! What a client knows of directories without asking.

use std::{sync::Arc, time::Duration};

use carafe_meta::{Admin, Call, NewNode, RenameFlags, SetAttr};
use carafe_types::{Attr, FileType, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    what_is_known_follows_this_clients_changes(format(0));
    what_is_known_counts_changes_at_once(format(1));
    what_is_known_serves_for_its_time(format(0));
}

/// Longer than any test takes.
const TRUST: Duration = Duration::from_hours(1);

async fn known(volume: &Volume, dir: Ino) -> (Attr, Duration) {
    let call = volume.call();
    let known = volume.meta.getattr_lately(&call, dir, TRUST);
    known.await.unwrap()
}

/// It is what another client is told by the engine.
async fn is_right(volume: &Volume, (other, call): &(Arc<dyn Admin>, Call), dir: Ino, what: &str) {
    let (known, _) = known(volume, dir).await;
    let told = other.getattr(call, dir).await.unwrap();
    assert_eq!(known, told, "after {what}");
}

async fn what_is_known_follows_this_clients_changes(volume: Volume) {
    let (meta, call, other) = (&volume.meta, volume.call(), volume.second().await);
    let (one, two) = (
        volume.dir(Ino::ROOT, "one").await,
        volume.dir(Ino::ROOT, "two").await,
    );
    let right = async |what: &str| {
        for dir in [Ino::ROOT, one, two] {
            is_right(&volume, &other, dir, what).await;
        }
    };
    right("two directories").await;
    let (file, _) = volume.file(one, "file").await;
    volume.dir(one, "dir").await;
    right("a file and a directory in one").await;
    let (plain, exchange) = (RenameFlags::None, RenameFlags::Exchange);
    for (from, name, to, new_name, flags) in [
        (one, "dir", two, "moved", plain),
        (one, "file", one, "renamed", plain),
        (two, "moved", one, "renamed", exchange),
    ] {
        let (old, new) = (name.as_bytes(), new_name.as_bytes());
        let moved = meta.rename(&call, from, old, to, new, flags);
        moved.await.unwrap();
        right(&format!("{name} to {new_name}")).await;
    }
    meta.link(&call, file, one, b"link").await.unwrap();
    right("a link").await;
    meta.unlink(&call, two, b"moved").await.unwrap();
    meta.rmdir(&call, one, b"renamed").await.unwrap();
    right("a removal in each").await;
    let refused = meta.rmdir(&call, Ino::ROOT, b"one").await;
    assert!(refused.is_err(), "one is not empty");
    let mode = SetAttr {
        mode: Some(0o700),
        ..SetAttr::default()
    };
    meta.setattr(&call, two, &mode).await.unwrap();
    right("a refusal and another mode").await;
}

async fn what_is_known_counts_changes_at_once(volume: Volume) {
    let (other, dir) = (volume.second().await, volume.dir(Ino::ROOT, "dir").await);
    known(&volume, dir).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (meta, call) = (volume.meta.clone(), volume.call());
        tasks.spawn(async move {
            let name = format!("dir-{number}").into_bytes();
            let node = NewNode {
                kind: FileType::Directory,
                mode: 0o755,
                ..NewNode::default()
            };
            meta.create(&call, dir, &name, &node).await.unwrap();
            meta.getattr(&call, dir).await.unwrap();
            if number % 2 == 0 {
                meta.rmdir(&call, dir, &name).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let (attr, _) = known(&volume, dir).await;
    let told = other.0.getattr(&other.1, dir).await.unwrap();
    assert_eq!(attr.nlink, told.nlink, "six directories' links");
    assert_eq!(told.nlink, 6);
}

async fn what_is_known_serves_for_its_time(volume: Volume) {
    let ((other, call), dir) = (volume.second().await, volume.dir(Ino::ROOT, "dir").await);
    known(&volume, dir).await;
    let node = NewNode::default();
    other.create(&call, dir, b"theirs", &node).await.unwrap();
    let (before, age) = known(&volume, dir).await;
    assert!(age > Duration::ZERO, "not asked for");
    let call = volume.call();
    let at_once = volume.meta.getattr_lately(&call, dir, age);
    let (now, age) = at_once.await.unwrap();
    assert_eq!(age, Duration::ZERO, "what is known is older than wanted");
    assert!(now.mtime > before.mtime, "what another client did is seen");
}
