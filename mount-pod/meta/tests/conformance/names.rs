//! Names: making, finding, linking, moving, removing.

use carafe_meta::{Call, NewNode, RenameFlags, SetAttr};
use carafe_types::{Error, FileType, Format, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    a_new_volume_is_empty(format(1));
    formatting_twice_changes_nothing(format(1));
    what_is_made_is_found(format(0));
    every_type_is_made(format(0));
    a_wrong_name_is_refused(format(0));
    a_sgid_directory_passes_its_group_on(format(0));
    the_links_of_a_file_are_counted(format(0));
    without_trash_a_removed_file_is_gone(format(0));
    with_trash_a_removed_file_is_kept(format(1));
    an_open_file_outlives_its_name(format(0));
    only_an_empty_directory_is_removed(format(0));
    a_removed_directory_takes_no_more_entries(format(1));
    renaming_follows_posix(format(0));
    renaming_replaces_into_the_trash(format(1));
    exchanging_swaps(format(0));
    a_directory_does_not_move_below_itself(format(0));
    in_a_sticky_directory_only_owners_remove(format(0));
    parallel_creators_all_succeed(format(0));
    only_one_of_many_exclusive_creators_wins(format(0));
    usage_returns_to_where_it_was(format(0));
}

fn file() -> NewNode {
    NewNode {
        mode: 0o644,
        ..NewNode::default()
    }
}

async fn a_new_volume_is_empty(volume: Volume) {
    let root = volume
        .meta
        .getattr(&volume.call(), Ino::ROOT)
        .await
        .unwrap();
    assert_eq!(
        (root.kind, root.mode, root.nlink, root.length),
        (FileType::Directory, 0o777, 2, 4096)
    );
    assert!(volume.names(Ino::ROOT).await.is_empty());
    let (trash, _) = volume
        .meta
        .lookup(&volume.call(), Ino::ROOT, b".trash")
        .await
        .unwrap();
    assert_eq!(trash, Ino::TRASH);
}

async fn formatting_twice_changes_nothing(volume: Volume) {
    let setting = format(1);
    volume
        .meta
        .format(&Call::internal(), &setting, false)
        .await
        .unwrap();
    let other = Format {
        uuid: "00000000-0000-4000-8000-000000000000".into(),
        ..setting.clone()
    };
    assert_eq!(
        volume.meta.format(&Call::internal(), &other, false).await,
        Err(Error::Exists)
    );
    assert_eq!(volume.meta.load(&Call::internal()).await, Ok(setting));
}

async fn what_is_made_is_found(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.user(7));
    let (ino, attr) = meta
        .create(
            &call,
            Ino::ROOT,
            b"a",
            &NewNode {
                mode: 0o666,
                umask: 0o022,
                ..file()
            },
        )
        .await
        .unwrap();
    assert_eq!(
        (attr.mode, attr.uid, attr.gid, attr.nlink, attr.parent),
        (0o644, 7, 7, 1, Ino::ROOT)
    );
    assert_eq!(
        meta.lookup(&call, Ino::ROOT, b"a").await.unwrap(),
        (ino, attr.clone())
    );
    assert_eq!(meta.getattr(&call, ino).await.unwrap(), attr);
    assert_eq!(
        meta.create(&call, Ino::ROOT, b"a", &file()).await,
        Err(Error::Exists)
    );
    assert_eq!(
        meta.lookup(&call, Ino::ROOT, b"b").await,
        Err(Error::NotFound)
    );
    assert_eq!(
        meta.lookup(&call, ino, b"b").await,
        Err(Error::NotDirectory)
    );
    let dir = volume.dir(Ino::ROOT, "d").await;
    let (deep, _) = volume.file(dir, "e").await;
    assert_eq!(
        meta.resolve(&call, Ino::ROOT, b"d/e").await.unwrap().0,
        deep
    );
    assert_eq!(
        meta.resolve(&call, Ino::ROOT, b"d/x").await,
        Err(Error::NotFound)
    );
    assert_eq!(
        meta.create(&call, ino, b"x", &file()).await,
        Err(Error::NotDirectory)
    );
    let (found, _, made) = meta
        .create_open(&call, Ino::ROOT, b"a", &file(), false, false)
        .await
        .unwrap();
    assert_eq!((found, made), (ino, false));
    assert_eq!(
        meta.create_open(&call, Ino::ROOT, b"a", &file(), true, false)
            .await,
        Err(Error::Exists)
    );
    assert_eq!(
        meta.create_open(&call, Ino::ROOT, b"d", &file(), false, false)
            .await,
        Err(Error::IsDirectory)
    );
}

async fn every_type_is_made(volume: Volume) {
    let call = volume.call();
    let kinds = [
        FileType::Fifo,
        FileType::Socket,
        FileType::BlockDevice,
        FileType::CharDevice,
    ];
    for kind in kinds {
        let node = NewNode {
            kind,
            mode: 0o600,
            rdev: 0x0103,
            ..NewNode::default()
        };
        let name = format!("{kind:?}");
        let (ino, attr) = volume
            .meta
            .create(&call, Ino::ROOT, name.as_bytes(), &node)
            .await
            .unwrap();
        assert_eq!(attr.kind, kind);
        assert_eq!(volume.meta.getattr(&call, ino).await.unwrap(), attr);
        volume
            .meta
            .unlink(&call, Ino::ROOT, name.as_bytes())
            .await
            .unwrap();
    }
    let target = b"some/\xff\xfewhere".to_vec();
    let node = NewNode {
        kind: FileType::Symlink,
        mode: 0o777,
        target: target.clone(),
        ..NewNode::default()
    };
    let (ino, attr) = volume
        .meta
        .create(&call, Ino::ROOT, b"\xf0link", &node)
        .await
        .unwrap();
    assert_eq!((attr.length, attr.mode), (target.len() as u64, 0o777));
    assert_eq!(volume.meta.readlink(&call, ino).await.unwrap(), target);
    assert_eq!(
        volume.meta.readlink(&call, Ino::ROOT).await,
        Err(Error::Invalid)
    );
}

async fn a_wrong_name_is_refused(volume: Volume) {
    let call = volume.call();
    for (name, error) in [
        (&b""[..], Error::Invalid),
        (b".", Error::Invalid),
        (b"..", Error::Invalid),
        (b"a/b", Error::Invalid),
        (&[b'x'; 256], Error::NameTooLong),
        (b".trash", Error::NotPermitted),
    ] {
        assert_eq!(
            volume.meta.create(&call, Ino::ROOT, name, &file()).await,
            Err(error)
        );
    }
    volume
        .meta
        .create(&call, Ino::ROOT, &[0xff; 255], &file())
        .await
        .unwrap();
}

async fn a_sgid_directory_passes_its_group_on(volume: Volume) {
    let dir = volume.dir(Ino::ROOT, "d").await;
    let set = SetAttr {
        mode: Some(0o2775),
        gid: Some(50),
        ..SetAttr::default()
    };
    volume
        .meta
        .setattr(&volume.call(), dir, &set)
        .await
        .unwrap();
    let user = volume.user(7);
    let (_, made) = volume
        .meta
        .create(
            &user,
            dir,
            b"f",
            &NewNode {
                mode: 0o2755,
                ..file()
            },
        )
        .await
        .unwrap();
    assert_eq!(
        (made.gid, made.mode),
        (50, 0o755),
        "the maker is not in the group"
    );
    let sub = NewNode {
        kind: FileType::Directory,
        mode: 0o755,
        ..NewNode::default()
    };
    let (_, made) = volume.meta.create(&user, dir, b"s", &sub).await.unwrap();
    assert_eq!((made.gid, made.mode), (50, 0o2755));
}

async fn the_links_of_a_file_are_counted(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let dir = volume.dir(Ino::ROOT, "d").await;
    let (ino, _) = volume.file(Ino::ROOT, "a").await;
    let linked = meta.link(&call, ino, dir, b"b").await.unwrap();
    assert_eq!((linked.nlink, linked.parent), (2, Ino(0)));
    assert_eq!(
        meta.link(&call, dir, Ino::ROOT, b"x").await,
        Err(Error::NotPermitted)
    );
    assert_eq!(meta.link(&call, ino, dir, b"b").await, Err(Error::Exists));
    meta.unlink(&call, Ino::ROOT, b"a").await.unwrap();
    assert_eq!(meta.getattr(&call, ino).await.unwrap().nlink, 1);
    assert_eq!(meta.lookup(&call, dir, b"b").await.unwrap().0, ino);
    meta.unlink(&call, dir, b"b").await.unwrap();
    assert_eq!(meta.getattr(&call, ino).await, Err(Error::NotFound));
}

async fn without_trash_a_removed_file_is_gone(volume: Volume) {
    let (ino, _) = volume.file(Ino::ROOT, "a").await;
    volume
        .meta
        .unlink(&volume.call(), Ino::ROOT, b"a")
        .await
        .unwrap();
    assert_eq!(
        volume.meta.getattr(&volume.call(), ino).await,
        Err(Error::NotFound)
    );
    assert_eq!(
        volume.meta.unlink(&volume.call(), Ino::ROOT, b"a").await,
        Err(Error::NotFound)
    );
    assert_eq!(volume.used().await, (0, 0));
}

async fn with_trash_a_removed_file_is_kept(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (ino, _) = volume.file(Ino::ROOT, "a").await;
    let dir = volume.dir(Ino::ROOT, "d").await;
    meta.unlink(&call, Ino::ROOT, b"a").await.unwrap();
    meta.rmdir(&call, Ino::ROOT, b"d").await.unwrap();
    let hours = volume.names(Ino::TRASH).await;
    let (hour, _) = meta
        .lookup(&call, Ino::TRASH, hours[0].as_bytes())
        .await
        .unwrap();
    assert_eq!(
        volume.names(hour).await,
        [format!("1-{ino}-a"), format!("1-{dir}-d")]
    );
    let kept = meta.getattr(&call, ino).await.unwrap();
    assert_eq!((kept.nlink, kept.parent), (1, hour));
    assert_eq!(volume.used().await.1, 3, "both, and the hour");
    let taken = meta
        .rename(
            &call,
            hour,
            format!("1-{ino}-a").as_bytes(),
            Ino::ROOT,
            b"back",
            RenameFlags::None,
        )
        .await;
    assert_eq!(taken.unwrap().0, ino);
    let user = volume.user(5);
    assert_eq!(
        meta.unlink(&user, hour, format!("1-{dir}-d").as_bytes())
            .await,
        Err(Error::NotPermitted)
    );
}

async fn an_open_file_outlives_its_name(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (ino, _, _) = meta
        .create_open(&call, Ino::ROOT, b"a", &file(), false, false)
        .await
        .unwrap();
    meta.unlink(&call, Ino::ROOT, b"a").await.unwrap();
    assert_eq!(meta.getattr(&call, ino).await.unwrap().nlink, 0);
    assert_eq!(volume.used().await.1, 1, "still in use");
    meta.close(&call, ino).await.unwrap();
    assert_eq!(meta.getattr(&call, ino).await, Err(Error::NotFound));
    assert_eq!(volume.used().await, (0, 0));
}

async fn only_an_empty_directory_is_removed(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let dir = volume.dir(Ino::ROOT, "d").await;
    volume.file(dir, "f").await;
    assert_eq!(meta.getattr(&call, Ino::ROOT).await.unwrap().nlink, 3);
    assert_eq!(
        meta.rmdir(&call, Ino::ROOT, b"d").await,
        Err(Error::NotEmpty)
    );
    assert_eq!(
        meta.unlink(&call, Ino::ROOT, b"d").await,
        Err(Error::IsDirectory)
    );
    assert_eq!(meta.rmdir(&call, dir, b"f").await, Err(Error::NotDirectory));
    meta.unlink(&call, dir, b"f").await.unwrap();
    meta.rmdir(&call, Ino::ROOT, b"d").await.unwrap();
    assert_eq!(meta.getattr(&call, Ino::ROOT).await.unwrap().nlink, 2);
    assert_eq!(
        meta.rmdir(&call, Ino::ROOT, b"d").await,
        Err(Error::NotFound)
    );
}

async fn a_removed_directory_takes_no_more_entries(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let dir = volume.dir(Ino::ROOT, "d").await;
    let (other, other_call) = volume.second().await;
    assert!(other.getattr(&other_call, dir).await.is_ok());
    meta.rmdir(&call, Ino::ROOT, b"d").await.unwrap();
    assert_eq!(
        other.create(&other_call, dir, b"f", &file()).await,
        Err(Error::NotFound)
    );
    assert_eq!(
        meta.create(&call, dir, b"f", &file()).await,
        Err(Error::NotFound)
    );
}

async fn renaming_follows_posix(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (one, two) = (
        volume.dir(Ino::ROOT, "one").await,
        volume.dir(Ino::ROOT, "two").await,
    );
    let (ino, _) = volume.file(one, "f").await;
    let rename = async |from, name: &'static [u8], to, new: &'static [u8], flags| {
        meta.rename(&call, from, name, to, new, flags)
            .await
            .map(|moved| moved.0)
    };
    assert_eq!(
        rename(one, b"f", two, b"g", RenameFlags::None).await,
        Ok(ino)
    );
    assert_eq!(meta.getattr(&call, ino).await.unwrap().parent, two);
    assert_eq!(meta.lookup(&call, one, b"f").await, Err(Error::NotFound));
    volume.file(two, "h").await;
    assert_eq!(
        rename(two, b"g", two, b"h", RenameFlags::NoReplace).await,
        Err(Error::Exists)
    );
    assert_eq!(
        rename(two, b"g", two, b"h", RenameFlags::None).await,
        Ok(ino)
    );
    assert_eq!(volume.names(two).await, ["h"]);
    assert_eq!(
        rename(Ino::ROOT, b"one", two, b"h", RenameFlags::None).await,
        Err(Error::NotDirectory)
    );
    assert_eq!(
        rename(two, b"h", Ino::ROOT, b"one", RenameFlags::None).await,
        Err(Error::IsDirectory)
    );
    assert_eq!(
        rename(Ino::ROOT, b"one", Ino::ROOT, b"two", RenameFlags::None).await,
        Err(Error::NotEmpty)
    );
    assert_eq!(
        rename(Ino::ROOT, b"two", Ino::ROOT, b"one", RenameFlags::None).await,
        Ok(two)
    );
    assert_eq!(meta.getattr(&call, one).await, Err(Error::NotFound));
    assert_eq!(meta.getattr(&call, Ino::ROOT).await.unwrap().nlink, 3);
    assert_eq!(
        rename(Ino::ROOT, b"none", two, b"x", RenameFlags::None).await,
        Err(Error::NotFound)
    );
    assert_eq!(
        rename(two, b"h", two, b"none", RenameFlags::Exchange).await,
        Err(Error::NotFound)
    );
    let sub = volume.dir(two, "sub").await;
    assert_eq!(
        rename(two, b"sub", Ino::ROOT, b"sub", RenameFlags::None).await,
        Ok(sub)
    );
    assert_eq!(meta.getattr(&call, Ino::ROOT).await.unwrap().nlink, 4);
    assert_eq!(meta.getattr(&call, two).await.unwrap().nlink, 2);
}

async fn renaming_replaces_into_the_trash(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (old, _) = volume.file(Ino::ROOT, "old").await;
    volume.file(Ino::ROOT, "new").await;
    meta.rename(
        &call,
        Ino::ROOT,
        b"new",
        Ino::ROOT,
        b"old",
        RenameFlags::None,
    )
    .await
    .unwrap();
    let hours = volume.names(Ino::TRASH).await;
    let (hour, _) = meta
        .lookup(&call, Ino::TRASH, hours[0].as_bytes())
        .await
        .unwrap();
    assert_eq!(volume.names(hour).await, [format!("1-{old}-old")]);
}

async fn exchanging_swaps(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let dir = volume.dir(Ino::ROOT, "d").await;
    let (file, _) = volume.file(Ino::ROOT, "f").await;
    let sub = volume.dir(dir, "s").await;
    meta.rename(&call, Ino::ROOT, b"f", dir, b"s", RenameFlags::Exchange)
        .await
        .unwrap();
    assert_eq!(meta.lookup(&call, dir, b"s").await.unwrap().0, file);
    assert_eq!(meta.lookup(&call, Ino::ROOT, b"f").await.unwrap().0, sub);
    assert_eq!(meta.getattr(&call, dir).await.unwrap().nlink, 2);
    assert_eq!(meta.getattr(&call, Ino::ROOT).await.unwrap().nlink, 4);
    assert_eq!(meta.getattr(&call, sub).await.unwrap().parent, Ino::ROOT);
}

async fn a_directory_does_not_move_below_itself(volume: Volume) {
    let call = volume.call();
    let one = volume.dir(Ino::ROOT, "one").await;
    let two = volume.dir(one, "two").await;
    let three = volume.dir(two, "three").await;
    for into in [one, two, three] {
        let moved = volume
            .meta
            .rename(&call, Ino::ROOT, b"one", into, b"x", RenameFlags::None)
            .await;
        assert_eq!(moved, Err(Error::Invalid));
    }
}

async fn in_a_sticky_directory_only_owners_remove(volume: Volume) {
    let meta = &volume.meta;
    let dir = volume.dir(Ino::ROOT, "d").await;
    meta.setattr(
        &volume.call(),
        dir,
        &SetAttr {
            mode: Some(0o1777),
            ..SetAttr::default()
        },
    )
    .await
    .unwrap();
    meta.create(&volume.user(5), dir, b"f", &file())
        .await
        .unwrap();
    assert_eq!(
        meta.unlink(&volume.user(6), dir, b"f").await,
        Err(Error::PermissionDenied)
    );
    meta.unlink(&volume.user(5), dir, b"f").await.unwrap();
}

async fn parallel_creators_all_succeed(volume: Volume) {
    let (other, other_call) = volume.second().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let (meta, call) = if task % 2 == 0 {
            (volume.meta.clone(), volume.call())
        } else {
            (other.clone(), other_call.clone())
        };
        tasks.spawn(async move {
            for number in 0..20 {
                let kind = if number % 4 == 0 {
                    FileType::Directory
                } else {
                    FileType::File
                };
                let node = NewNode { kind, ..file() };
                meta.create(
                    &call,
                    Ino::ROOT,
                    format!("{task}-{number}").as_bytes(),
                    &node,
                )
                .await
                .unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(volume.names(Ino::ROOT).await.len(), 320);
    assert_eq!(
        volume
            .meta
            .getattr(&volume.call(), Ino::ROOT)
            .await
            .unwrap()
            .nlink,
        2 + 80
    );
    assert_eq!(volume.used().await, (320 * 4096, 320));
}

async fn only_one_of_many_exclusive_creators_wins(volume: Volume) {
    let (other, other_call) = volume.second().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let (meta, call) = if task % 2 == 0 {
            (volume.meta.clone(), volume.call())
        } else {
            (other.clone(), other_call.clone())
        };
        tasks.spawn(async move {
            meta.create_open(&call, Ino::ROOT, b"one", &file(), true, false)
                .await
        });
    }
    let results = tasks.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    assert!(lost.into_iter().all(|result| result == Err(Error::Exists)));
}

async fn usage_returns_to_where_it_was(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let dir = volume.dir(Ino::ROOT, "d").await;
    let (ino, _) = volume.file(dir, "f").await;
    meta.setattr(
        &call,
        ino,
        &SetAttr {
            size: Some(10_000),
            ..SetAttr::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(volume.used().await, (4096 + 12_288, 2));
    meta.link(&call, ino, dir, b"g").await.unwrap();
    assert_eq!(volume.used().await, (4096 + 12_288, 2));
    meta.rename(&call, dir, b"f", Ino::ROOT, b"f", RenameFlags::None)
        .await
        .unwrap();
    meta.unlink(&call, Ino::ROOT, b"f").await.unwrap();
    meta.unlink(&call, dir, b"g").await.unwrap();
    meta.rmdir(&call, Ino::ROOT, b"d").await.unwrap();
    assert_eq!(volume.used().await, (0, 0));
}
