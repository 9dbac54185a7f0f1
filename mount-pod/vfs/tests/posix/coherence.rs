//! Who sees what when.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use carafe_meta::{Call, SetAttr};
use carafe_types::{Ino, Timestamp};
use carafe_vfs::{Config, OpenFlags, WriteFlags};

use crate::fixture::{BLOCK, Mount, Volume, pattern};

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
        .setattr(&mount.call, file.ino, None, &set)
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
        .setattr(&mount.call, file.ino, None, &set)
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

/// Asks for attributes, and lets a commit and a close overtake the engine's answer; the
/// length that the answer tells in the end.
async fn overtaken<F>(ask: impl FnOnce(Arc<Mount>, Ino) -> F) -> Option<u64>
where
    F: Future<Output = Option<u64>> + Send + 'static,
{
    let volume = Volume::new().await;
    let mount = Arc::new(volume.mount(Config::default()).await);
    let file = mount.create("growing").await;
    mount.write(&file, 0, b"old").await.unwrap();
    mount.fsync(&file).await.unwrap();
    mount.write(&file, 3, b" and new").await.unwrap();
    volume.mood.hold.store(true, Ordering::SeqCst);
    let asking = tokio::spawn(ask(Arc::clone(&mount), file.ino));
    volume.mood.held.notified().await;
    mount.close(file).await.unwrap();
    volume.mood.go.notify_one();
    asking.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookup_that_a_commit_overtakes_tells_the_new_length() {
    let length = overtaken(|mount, _| async move {
        let found = mount.vfs.lookup(&mount.call, Ino::ROOT, b"growing").await;
        Some(found.unwrap().attr.length)
    });
    assert_eq!(length.await, Some(11));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_mode_that_a_commit_overtakes_tells_the_new_length() {
    let length = overtaken(|mount, ino| async move {
        let set = SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        };
        let changed = mount
            .vfs
            .setattr(&mount.call, ino, None, &set)
            .await
            .unwrap();
        assert_eq!(changed.attr.mode, 0o600);
        Some(changed.attr.length)
    });
    assert_eq!(length.await, Some(11));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_a_commit_overtakes_tells_no_old_length() {
    let length = overtaken(|mount, _| async move {
        let (vfs, call) = (&mount.vfs, &mount.call);
        let opened = vfs.opendir(call, Ino::ROOT).await.unwrap();
        let listed = vfs.readdir(call, Ino::ROOT, opened.handle, 2, 10, true);
        let items = listed.await.unwrap();
        assert_eq!(items.len(), 1);
        items[0].entry.as_ref().map(|entry| entry.attr.length)
    });
    assert_eq!(length.await, None, "the kernel asks for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_page_tells_nothing_that_has_changed_since() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    for name in ["one", "two", "three"] {
        let file = mount.create(name).await;
        mount.close(file).await.unwrap();
    }
    let (vfs, call) = (&mount.vfs, &mount.call);
    let opened = vfs.opendir(call, Ino::ROOT).await.unwrap();
    let list = |cookie, limit| vfs.readdir(call, Ino::ROOT, opened.handle, cookie, limit, true);
    let all = list(0, 5).await.unwrap();
    let changed = all[3].ino;
    let set = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    vfs.setattr(call, changed, None, &set).await.unwrap();
    let rest = list(all[2].next, 10).await.unwrap();
    let told = rest.iter().find(|item| item.ino == changed).unwrap();
    let old = told
        .entry
        .as_ref()
        .is_some_and(|entry| entry.attr.mode != 0o600);
    assert!(!old, "an old mode must not reach the kernel as new");
}
