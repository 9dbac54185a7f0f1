//! Volumes of claims.

use carafe_meta::{Call, NewVolume, VolumeError};
use carafe_types::{Error, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    a_volume_is_made_once(format(1));
    a_path_belongs_to_one_volume(format(1));
    no_volume_lies_in_another(format(1));
    volumes_that_share_may_use_what_the_largest_may(format(1));
    a_bad_path_is_refused(format(1));
    a_volume_grows(format(1));
    a_deleted_volume_goes_through_the_trash(format(1));
    a_volume_is_made_on_a_directory_that_is_there(format(1));
}

fn claim(id: &str, path: &str) -> NewVolume {
    let owner = format!("default/{id}");
    NewVolume {
        id: id.into(),
        path: path.into(),
        capacity: 1 << 20,
        mode: 0o777,
        owner,
        ..NewVolume::default()
    }
}

async fn a_volume_is_made_once(volume: Volume) {
    let (meta, call) = (&volume.meta, Call::internal());
    let made = meta
        .create_volume(&call, &claim("pv-1", "team/a/pv-1"))
        .await
        .unwrap();
    assert_eq!(
        meta.create_volume(&call, &claim("pv-1", "team/a/pv-1"))
            .await,
        Ok(made.clone())
    );
    assert_eq!(
        meta.resolve(&call, Ino::ROOT, b"team/a/pv-1")
            .await
            .unwrap()
            .0,
        made.ino
    );
    assert_eq!(meta.getattr(&call, made.ino).await.unwrap().mode, 0o777);
    assert_eq!(
        meta.quota(&call, made.ino)
            .await
            .unwrap()
            .unwrap()
            .quota
            .max_bytes,
        1 << 20
    );
    let other = NewVolume {
        capacity: 5,
        ..claim("pv-1", "team/a/pv-1")
    };
    assert!(matches!(
        meta.create_volume(&call, &other).await,
        Err(VolumeError::Different { .. })
    ));
    meta.create_volume(&call, &claim("pv-0", "pv-0"))
        .await
        .unwrap();
    let ids: Vec<_> = meta
        .volumes(&call, None, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|record| record.id)
        .collect();
    assert_eq!(ids, ["pv-0", "pv-1"]);
    assert_eq!(
        meta.volumes(&call, Some("pv-0"), 10).await.unwrap(),
        std::slice::from_ref(&made)
    );
    assert_eq!(meta.volume(&call, "pv-1").await.unwrap(), Some(made));
    assert_eq!(meta.volume(&call, "pv-2").await.unwrap(), None);
}

async fn a_path_belongs_to_one_volume(volume: Volume) {
    let (meta, call) = (&volume.meta, Call::internal());
    meta.create_volume(&call, &claim("one", "same"))
        .await
        .unwrap();
    let error = meta
        .create_volume(&call, &claim("two", "same"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("belongs to volume one of default/one"),
        "{error}"
    );
    assert_eq!(meta.volume(&call, "two").await.unwrap(), None);
    let shared = |id| NewVolume {
        share: true,
        ..claim(id, "shared")
    };
    let first = meta.create_volume(&call, &shared("a")).await.unwrap();
    let second = meta.create_volume(&call, &shared("b")).await.unwrap();
    assert_eq!(first.ino, second.ino);
    meta.delete_volume(&call, "a").await.unwrap();
    assert!(
        meta.resolve(&call, Ino::ROOT, b"shared").await.is_ok(),
        "b has it still"
    );
    meta.delete_volume(&call, "b").await.unwrap();
    assert_eq!(
        meta.resolve(&call, Ino::ROOT, b"shared").await,
        Err(Error::NotFound)
    );
}

async fn no_volume_lies_in_another(volume: Volume) {
    let (meta, call) = (&volume.meta, Call::internal());
    for path in ["team", "deep/down/data", "teams"] {
        let made = meta.create_volume(&call, &claim(path, path)).await;
        made.unwrap();
    }
    for (path, taken) in [
        ("team/x", "team"),
        ("team/x/y", "team"),
        ("deep", "deep/down/data"),
        ("deep/down", "deep/down/data"),
    ] {
        let refused = meta.create_volume(&call, &claim("new", path)).await;
        let Err(VolumeError::PathTaken { taken: other, .. }) = &refused else {
            panic!("{path}: {refused:?}");
        };
        assert_eq!(other, taken, "{path}");
    }
    meta.create_volume(&call, &claim("new", "deep/other"))
        .await
        .unwrap();
    // Those that share may lie in each other, and the outer one takes nothing with it.
    let shared = |id, path| NewVolume {
        share: true,
        ..claim(id, path)
    };
    for (id, path) in [("outer", "a"), ("inner", "a/b")] {
        let made = meta.create_volume(&call, &shared(id, path)).await;
        made.unwrap();
    }
    meta.delete_volume(&call, "outer").await.unwrap();
    assert!(meta.resolve(&call, Ino::ROOT, b"a/b").await.is_ok());
}

async fn volumes_that_share_may_use_what_the_largest_may(volume: Volume) {
    let (meta, call) = (&volume.meta, Call::internal());
    let shared = |id, capacity| NewVolume {
        share: true,
        capacity,
        ..claim(id, "shared")
    };
    let large = meta.create_volume(&call, &shared("large", 1 << 30)).await;
    let dir = large.unwrap().ino;
    let limit = async || {
        let quota = meta.quota(&call, dir).await.unwrap();
        quota.map_or(0, |quota| quota.quota.max_bytes)
    };
    meta.create_volume(&call, &shared("small", 10 << 20))
        .await
        .unwrap();
    assert_eq!(limit().await, 1 << 30, "the smaller one takes nothing away");
    meta.resize_volume(&call, "small", 20 << 20).await.unwrap();
    assert_eq!(limit().await, 1 << 30, "nor when it grows");
    meta.resize_volume(&call, "large", 2 << 30).await.unwrap();
    assert_eq!(limit().await, 2 << 30);
    meta.delete_volume(&call, "large").await.unwrap();
    assert_eq!(limit().await, 20 << 20, "the other's own limit is left");
}

async fn a_bad_path_is_refused(volume: Volume) {
    let long = "x".repeat(256);
    for path in [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        "./a",
        ".trash",
        ".trash/x",
        ".carafe-deleted/x",
        ".control",
        &long,
    ] {
        let made = volume
            .meta
            .create_volume(&Call::internal(), &claim("pv", path))
            .await;
        assert_eq!(made, Err(VolumeError::BadPath(path.into())), "{path:?}");
    }
    volume
        .meta
        .create_volume(&Call::internal(), &claim("pv", "a/.trash/..b"))
        .await
        .unwrap();
}

async fn a_volume_grows(volume: Volume) {
    let (meta, call) = (&volume.meta, Call::internal());
    let made = meta.create_volume(&call, &claim("pv", "pv")).await.unwrap();
    let grown = meta.resize_volume(&call, "pv", 1 << 30).await.unwrap();
    assert_eq!((grown.capacity, grown.ino), (1 << 30, made.ino));
    assert_eq!(
        meta.quota(&call, made.ino)
            .await
            .unwrap()
            .unwrap()
            .quota
            .max_bytes,
        1 << 30
    );
    assert_eq!(
        meta.resize_volume(&call, "no", 1).await,
        Err(VolumeError::NotFound("no".into()))
    );
}

async fn a_deleted_volume_goes_through_the_trash(volume: Volume) {
    let (meta, call) = (&volume.meta, Call::internal());
    let made = meta
        .create_volume(&call, &claim("pv", "team/pv"))
        .await
        .unwrap();
    let sub = volume.dir(made.ino, "sub").await;
    for number in 0..5 {
        volume.file(sub, &format!("f{number}")).await;
    }
    meta.delete_volume(&call, "pv").await.unwrap();
    meta.delete_volume(&call, "pv").await.unwrap();
    assert_eq!(meta.volume(&call, "pv").await.unwrap(), None);
    assert_eq!(meta.quota(&call, made.ino).await.unwrap(), None);
    assert_eq!(
        meta.resolve(&call, Ino::ROOT, b"team/pv").await,
        Err(Error::NotFound)
    );
    let again = meta
        .create_volume(&call, &claim("pv2", "team/pv"))
        .await
        .unwrap();
    assert_ne!(again.ino, made.ino);
    let mut removed = 0;
    loop {
        let step = meta.expire_trash(&call, 3).await.unwrap();
        assert!(step <= 3);
        removed += step;
        if step == 0 {
            break;
        }
    }
    assert_eq!(removed, 7, "five files and two directories");
    let (tombstones, _) = meta
        .lookup(&call, Ino::ROOT, b".carafe-deleted")
        .await
        .unwrap();
    assert!(volume.names(tombstones).await.is_empty());
    let hours = volume.names(Ino::TRASH).await;
    let (hour, _) = meta
        .lookup(&call, Ino::TRASH, hours[0].as_bytes())
        .await
        .unwrap();
    assert_eq!(volume.names(hour).await.len(), 7);
}

async fn a_volume_is_made_on_a_directory_that_is_there(volume: Volume) {
    let dir = volume.dir(Ino::ROOT, "there").await;
    volume.file(dir, "f").await;
    let made = volume
        .meta
        .create_volume(&Call::internal(), &claim("pv", "there"))
        .await
        .unwrap();
    assert_eq!(made.ino, dir);
    let quota = volume
        .meta
        .quota(&Call::internal(), dir)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((quota.used_bytes, quota.used_inodes), (4096, 1));
    volume.file(Ino::ROOT, "file").await;
    let refused = volume
        .meta
        .create_volume(&Call::internal(), &claim("pv2", "file/x"))
        .await;
    assert_eq!(refused, Err(VolumeError::Engine(Error::NotDirectory)));
}
