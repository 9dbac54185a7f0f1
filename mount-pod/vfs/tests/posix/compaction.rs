//! Slice lists that get shorter while files are in use.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use carafe_types::{Ino, SliceId};
use carafe_vfs::Config;

use crate::fixture::{File, Mount, Volume, pattern};

/// Compacts what other mounts of these tests leave long.
fn eager() -> Config {
    Config {
        compact_from: 10,
        ..Config::default()
    }
}

fn never() -> Config {
    Config {
        compact_from: 0,
        ..Config::default()
    }
}

async fn records(volume: &Volume, mount: &Mount, ino: Ino) -> usize {
    let list = volume.meta.read_chunk(&mount.call, ino, 0).await.unwrap();
    list.len()
}

/// Waits until a chunk's list is shorter than so many records.
async fn until_shorter(volume: &Volume, mount: &Mount, ino: Ino, than: usize) {
    for _ in 0..500 {
        if records(volume, mount, ino).await < than {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} records are left", records(volume, mount, ino).await);
}

/// So many writes of 1,000 bytes, each a record of its own; what they leave.
async fn scribble(mount: &Mount, file: &File, writes: u64) -> Vec<u8> {
    let mut model = vec![0; 150_000];
    for number in 0..writes {
        let (at, data) = ((number * 7919 % 149) as usize * 1000, pattern(number, 1000));
        mount.write(file, at as u64, &data).await.unwrap();
        mount.fsync(file).await.unwrap();
        model[at..at + 1000].copy_from_slice(&data);
    }
    model.truncate(mount.length(file.ino).await as usize);
    model
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_read_gets_short_and_reads_the_same() {
    let volume = Volume::new().await;
    let (writer, reader) = (volume.mount(never()).await, volume.mount(eager()).await);
    let file = writer.create("long").await;
    let model = scribble(&writer, &file, 60).await;
    assert_eq!(records(&volume, &writer, file.ino).await, 60);
    let again = reader.open(file.ino).await;
    assert_eq!(reader.read(&again, 0, 200_000).await, model);
    until_shorter(&volume, &reader, file.ino, 5).await;
    assert_eq!(reader.read(&again, 0, 200_000).await, model);
    // The other client still has the old list cached, and the dead slices go under it.
    let dead = volume.meta.dead_slices(&writer.call, 100).await.unwrap();
    assert_eq!(dead.len(), 60, "each replaced slice lost its reference");
    for (id, size) in dead {
        volume.delete(id, size).await;
    }
    assert_eq!(writer.read(&file, 0, 200_000).await, model);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_is_only_written_gets_short() {
    let volume = Volume::new().await;
    let mount = volume.mount(eager()).await;
    let file = mount.create("appended").await;
    scribble(&mount, &file, 149).await;
    until_shorter(&volume, &mount, file.ino, 100).await;
}

/// Two clients compact one chunk while both write: neither loses a byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_and_compactors_of_one_chunk() {
    let volume = Volume::new().await;
    volume.disturb();
    let config = || Config {
        compact_from: 4,
        ..Config::default()
    };
    let mounts = [
        Arc::new(volume.mount(config()).await),
        Arc::new(volume.mount(config()).await),
    ];
    let ino = mounts[0].create("shared").await.ino;
    let write = |mount: Arc<Mount>, own: u64| async move {
        let file = mount.open(ino).await;
        for round in 0..150 {
            let at = (round * 2 + own) * 700;
            mount
                .write(&file, at, &pattern(round * 2 + own, 700))
                .await
                .unwrap();
            mount.fsync(&file).await.unwrap();
            // Another client's commits make cached lists old, so this fetches and compacts.
            mount.length(ino).await;
            assert_eq!(
                mount.read(&file, at, 700).await,
                pattern(round * 2 + own, 700)
            );
        }
    };
    let both = [0, 1].map(|own| tokio::spawn(write(Arc::clone(&mounts[own]), own as u64)));
    for writer in both {
        writer.await.unwrap();
    }
    let mount = volume.mount(never()).await;
    let file = mount.open(ino).await;
    for number in 0..300 {
        assert_eq!(
            mount.read(&file, number * 700, 700).await,
            pattern(number, 700),
            "{number}"
        );
    }
    assert!(
        records(&volume, &mount, ino).await < 150,
        "somebody compacted"
    );
}

/// A transaction whose answer is lost is not done twice, and its blocks stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_does_no_harm() {
    let volume = Volume::new().await;
    let (writer, reader) = (volume.mount(never()).await, volume.mount(eager()).await);
    let file = writer.create("answer").await;
    let model = scribble(&writer, &file, 30).await;
    volume.mood.lose_compactions.store(2, Ordering::SeqCst);
    let again = reader.open(file.ino).await;
    assert_eq!(reader.read(&again, 0, 200_000).await, model);
    until_shorter(&volume, &reader, file.ino, 5).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(volume.mood.lose_compactions.load(Ordering::SeqCst), 0);
    let fresh = volume.mount(never()).await;
    let file = fresh.open(file.ino).await;
    assert_eq!(fresh.read(&file, 0, 200_000).await, model);
    let list = volume
        .meta
        .read_chunk(&fresh.call, file.ino, 0)
        .await
        .unwrap();
    assert!(
        list.iter().all(|slice| slice.id > SliceId(0)),
        "no byte is a hole: {list:?}"
    );
}

/// What cannot be put in place leaves no blocks behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wasted_blocks_are_deleted() {
    let volume = Volume::new().await;
    let (writer, reader) = (volume.mount(never()).await, volume.mount(eager()).await);
    let file = writer.create("wasted").await;
    let model = scribble(&writer, &file, 30).await;
    let before = volume.objects().await;
    volume.mood.refuse_compactions.store(true, Ordering::SeqCst);
    let again = reader.open(file.ino).await;
    assert_eq!(reader.read(&again, 0, 200_000).await, model);
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if volume.mood.refused.load(Ordering::SeqCst) > 0 && volume.objects().await == before {
            assert_eq!(reader.read(&again, 0, 200_000).await, model);
            return;
        }
    }
    panic!(
        "{} objects are left, {before} before",
        volume.objects().await
    );
}
