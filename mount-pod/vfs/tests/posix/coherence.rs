//! Who sees what when.

use std::{sync::atomic::Ordering, time::Duration};

use carafe_meta::{Call, SetAttr};
use carafe_types::{Ino, Timestamp};
use carafe_vfs::{Config, OpenFlags, WriteFlags};

use crate::fixture::{BLOCK, Volume, pattern};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dirty_bytes_are_read_without_a_flush() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    volume.store.hang_puts.store(true, Ordering::SeqCst);
    let file = mount.create("dirty").await;
    let data = pattern(1, 3 * BLOCK as usize + 100);
    mount.write(&file, 50, &data).await.unwrap();
    mount.write(&file, 60, b"patched").await.unwrap();
    let mut expected = [vec![0; 50], data].concat();
    expected[60..67].copy_from_slice(b"patched");
    assert_eq!(mount.read(&file, 0, 1 << 20).await, expected);
    assert_eq!(mount.length(file.ino).await, expected.len() as u64);
    assert_eq!(
        volume.store.puts.load(Ordering::SeqCst),
        0,
        "nothing reached the store"
    );
    volume.store.hang_puts.store(false, Ordering::SeqCst);
    mount.close(file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_blocks_upload_while_the_file_is_written() {
    let volume = Volume::new().await;
    let mount = volume
        .mount(Config {
            max_dirty_age: Duration::from_hours(1),
            ..Config::default()
        })
        .await;
    let file = mount.create("growing").await;
    mount
        .write(&file, 0, &pattern(1, 2 * BLOCK as usize + 1))
        .await
        .unwrap();
    for _ in 0..200 {
        if volume.store.puts.load(Ordering::SeqCst) == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(volume.store.puts.load(Ordering::SeqCst), 2);
    // Bytes that are in the store and not committed are read from there.
    assert_eq!(mount.read(&file, 10, 100).await, pattern(1, 110)[10..]);
    mount.close(file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dirty_data_is_bounded_in_age() {
    let volume = Volume::new().await;
    let mount = volume
        .mount(Config {
            max_dirty_age: Duration::from_millis(400),
            ..Config::default()
        })
        .await;
    let file = mount.create("aging").await;
    mount.write(&file, 0, b"old").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let attr = volume
        .meta
        .getattr(&Call::internal(), file.ino)
        .await
        .unwrap();
    assert_eq!(attr.length, 3, "committed without anybody asking");
    mount.close(file).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_closes_another_that_opens_sees() {
    let volume = Volume::new().await;
    let (one, two) = (
        volume.mount(Config::default()).await,
        volume.mount(Config::default()).await,
    );
    let first = one.create("shared").await;
    let ino = first.ino;
    one.write(&first, 0, b"version 1").await.unwrap();
    one.close(first).await.unwrap();
    let reader = two.open(ino).await;
    assert_eq!(two.read(&reader, 0, 100).await, b"version 1");
    let second = one.open(ino).await;
    one.write(&second, 8, b"2!").await.unwrap();
    one.close(second).await.unwrap();
    let again = two.open(ino).await;
    assert_eq!(two.read(&again, 0, 100).await, b"version 2!");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_keeps_its_pages_only_while_they_are_true() {
    let volume = Volume::new().await;
    let (one, two) = (
        volume.mount(Config::default()).await,
        volume.mount(Config::default()).await,
    );
    let file = one.create("cached").await;
    let ino = file.ino;
    one.write(&file, 0, b"mine").await.unwrap();
    one.close(file).await.unwrap();
    let opened = one.vfs.open(&one.call, ino, OpenFlags::READ).await.unwrap();
    assert!(opened.keep_cache, "nobody changed it since we closed it");
    one.vfs
        .release(&one.call, ino, opened.handle, None)
        .await
        .unwrap();
    let other = two.open(ino).await;
    two.write(&other, 0, b"theirs").await.unwrap();
    two.close(other).await.unwrap();
    let opened = one.vfs.open(&one.call, ino, OpenFlags::READ).await.unwrap();
    assert!(!opened.keep_cache, "somebody did");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_was_set_survives_the_commit_of_older_writes() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let file = mount.create("dated").await;
    mount.write(&file, 0, b"contents").await.unwrap();
    let mtime = Timestamp {
        secs: 1_000_000_000,
        nanos: 5,
    };
    let set = SetAttr {
        mtime: Some(mtime),
        ..SetAttr::default()
    };
    let attr = mount
        .vfs
        .setattr(&mount.call, file.ino, &set)
        .await
        .unwrap()
        .attr;
    assert_eq!((attr.mtime, attr.length), (mtime, 8));
    let ino = file.ino;
    mount.close(file).await.unwrap();
    let attr = mount.vfs.getattr(&mount.call, ino).await.unwrap().attr;
    assert_eq!((attr.mtime, attr.length), (mtime, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_file_outlives_its_name() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let file = mount.create("doomed").await;
    mount.write(&file, 0, b"before").await.unwrap();
    mount
        .vfs
        .unlink(&mount.call, Ino::ROOT, b"doomed")
        .await
        .unwrap();
    mount.write(&file, 6, b" after").await.unwrap();
    mount.fsync(&file).await.unwrap();
    assert_eq!(mount.read(&file, 0, 100).await, b"before after");
    let ino = file.ino;
    mount.close(file).await.unwrap();
    assert!(mount.vfs.getattr(&mount.call, ino).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_by_others_clears_suid() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let file = mount.create("program").await;
    let set = SetAttr {
        mode: Some(0o4755),
        ..SetAttr::default()
    };
    mount
        .vfs
        .setattr(&mount.call, file.ino, &set)
        .await
        .unwrap();
    let flags = WriteFlags {
        kill_suid: true,
        ..WriteFlags::default()
    };
    mount
        .vfs
        .write(
            &mount.vfs.call(1000, 1000, 2),
            file.ino,
            file.handle,
            0,
            b"x",
            flags,
        )
        .await
        .unwrap();
    let attr = mount.vfs.getattr(&mount.call, file.ino).await.unwrap().attr;
    assert_eq!(attr.mode, 0o755);
}
