//! Limits of the volume and of directories.

use carafe_meta::{Call, NewNode, Quota, RenameFlags, SetAttr};
use carafe_types::{Error, FileType, Format, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    a_full_volume_is_out_of_space(Format { capacity: 40_960, inodes: 5, ..format(1) });
    a_full_quota_is_exceeded(format(0));
    a_quota_counts_what_was_there(format(0));
    a_quota_is_seen_by_another_client(format(0));
    moving_moves_usage(format(0));
    statfs_shows_the_nearest_quota(format(0));
}

async fn grow(volume: &Volume, ino: Ino, size: u64) -> Result<(), Error> {
    let set = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    volume
        .meta
        .setattr(&volume.call(), ino, &set)
        .await
        .map(|_| ())
}

async fn a_full_volume_is_out_of_space(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    grow(&volume, ino, 40_960).await.unwrap();
    assert_eq!(grow(&volume, ino, 40_961).await, Err(Error::NoSpace));
    grow(&volume, ino, 4096).await.unwrap();
    for number in 0..4 {
        volume.file(Ino::ROOT, &format!("{number}")).await;
    }
    let more = volume
        .meta
        .create(&volume.call(), Ino::ROOT, b"x", &NewNode::default())
        .await;
    assert_eq!(more, Err(Error::NoSpace));
    volume
        .meta
        .unlink(&volume.call(), Ino::ROOT, b"f")
        .await
        .unwrap();
    assert_eq!(
        volume.meta.lookup(&volume.call(), Ino::ROOT, b"x").await,
        Err(Error::NotFound),
        "nothing of it is left"
    );
}

async fn usage(volume: &Volume, dir: Ino) -> (i64, i64) {
    let quota = volume
        .meta
        .quota(&volume.call(), dir)
        .await
        .unwrap()
        .unwrap();
    (quota.used_bytes, quota.used_inodes)
}

async fn a_full_quota_is_exceeded(volume: Volume) {
    let call = volume.call();
    let dir = volume.dir(Ino::ROOT, "d").await;
    let sub = volume.dir(dir, "s").await;
    volume
        .meta
        .set_quota(
            &call,
            dir,
            Quota {
                max_bytes: 20_480,
                max_inodes: 3,
            },
        )
        .await
        .unwrap();
    assert_eq!(usage(&volume, dir).await, (4096, 1));
    let (ino, _) = volume.file(sub, "f").await;
    grow(&volume, ino, 16_384).await.unwrap();
    assert_eq!(grow(&volume, ino, 16_385).await, Err(Error::QuotaExceeded));
    assert_eq!(usage(&volume, dir).await, (20_480, 2));
    grow(&volume, ino, 0).await.unwrap();
    volume.file(dir, "g").await;
    let more = volume
        .meta
        .create(&call, dir, b"x", &NewNode::default())
        .await;
    assert_eq!(more, Err(Error::QuotaExceeded));
    volume.meta.unlink(&call, dir, b"g").await.unwrap();
    volume.file(dir, "x").await;
    assert_eq!(usage(&volume, dir).await, (12_288, 3));
    volume
        .meta
        .set_quota(
            &call,
            dir,
            Quota {
                max_bytes: 0,
                max_inodes: 4,
            },
        )
        .await
        .unwrap();
    grow(&volume, ino, 1 << 30).await.unwrap();
    volume.meta.remove_quota(&call, dir).await.unwrap();
    assert_eq!(volume.meta.quota(&call, dir).await, Ok(None));
}

async fn a_quota_counts_what_was_there(volume: Volume) {
    let dir = volume.dir(Ino::ROOT, "d").await;
    let sub = volume.dir(dir, "s").await;
    let (ino, _) = volume.file(sub, "f").await;
    grow(&volume, ino, 5000).await.unwrap();
    volume
        .meta
        .set_quota(
            &volume.call(),
            dir,
            Quota {
                max_bytes: 1 << 20,
                max_inodes: 0,
            },
        )
        .await
        .unwrap();
    assert_eq!(usage(&volume, dir).await, (12_288, 2));
}

async fn a_quota_is_seen_by_another_client(volume: Volume) {
    let dir = volume.dir(Ino::ROOT, "d").await;
    volume
        .meta
        .set_quota(
            &volume.call(),
            dir,
            Quota {
                max_bytes: 8192,
                max_inodes: 0,
            },
        )
        .await
        .unwrap();
    let (other, call) = volume.second().await;
    let (ino, _) = other
        .create(&call, dir, b"f", &NewNode::default())
        .await
        .unwrap();
    let set = SetAttr {
        size: Some(9000),
        ..SetAttr::default()
    };
    assert_eq!(
        other.setattr(&call, ino, &set).await,
        Err(Error::QuotaExceeded)
    );
    // The first client raises it: the other one's next operation knows.
    volume
        .meta
        .set_quota(
            &volume.call(),
            dir,
            Quota {
                max_bytes: 1 << 20,
                max_inodes: 0,
            },
        )
        .await
        .unwrap();
    other.setattr(&call, ino, &set).await.unwrap();
    assert_eq!(usage(&volume, dir).await, (12_288, 1));
}

async fn moving_moves_usage(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (one, two) = (
        volume.dir(Ino::ROOT, "1").await,
        volume.dir(Ino::ROOT, "2").await,
    );
    for dir in [one, two] {
        meta.set_quota(
            &call,
            dir,
            Quota {
                max_bytes: 20_480,
                max_inodes: 0,
            },
        )
        .await
        .unwrap();
    }
    let sub = volume.dir(one, "s").await;
    let (ino, _) = volume.file(sub, "f").await;
    grow(&volume, ino, 12_288).await.unwrap();
    assert_eq!(usage(&volume, one).await, (16_384, 2));
    meta.rename(&call, one, b"s", two, b"t", RenameFlags::None)
        .await
        .unwrap();
    assert_eq!(
        (usage(&volume, one).await, usage(&volume, two).await),
        ((0, 0), (16_384, 2))
    );
    let (big, _) = volume.file(one, "big").await;
    grow(&volume, big, 8192).await.unwrap();
    let moved = meta
        .rename(&call, one, b"big", two, b"big", RenameFlags::None)
        .await;
    assert_eq!(moved, Err(Error::QuotaExceeded));
    meta.link(&call, ino, Ino::ROOT, b"second").await.unwrap();
    grow(&volume, ino, 4096).await.unwrap();
    assert_eq!(usage(&volume, two).await, (8192, 2));
}

async fn statfs_shows_the_nearest_quota(volume: Volume) {
    let node = NewNode {
        kind: FileType::Directory,
        mode: 0o755,
        ..NewNode::default()
    };
    let call = Call::internal();
    let (dir, _) = volume
        .meta
        .create(&call, Ino::ROOT, b"d", &node)
        .await
        .unwrap();
    volume
        .meta
        .set_quota(
            &call,
            dir,
            Quota {
                max_bytes: 1 << 20,
                max_inodes: 10,
            },
        )
        .await
        .unwrap();
    let (ino, _) = volume.file(dir, "f").await;
    grow(&volume, ino, 8192).await.unwrap();
    let stat = volume.meta.statfs(&call, dir).await.unwrap();
    assert_eq!(
        (stat.total_bytes, stat.free_bytes),
        (1 << 20, (1 << 20) - 8192)
    );
    assert_eq!((stat.used_inodes, stat.free_inodes), (1, 9));
    assert_eq!(
        volume
            .meta
            .statfs(&call, Ino::ROOT)
            .await
            .unwrap()
            .total_bytes,
        1 << 50
    );
}
