//! BSD and POSIX locks between clients.

use carafe_meta::{FileLock, LockKind, LockRange};
use carafe_types::{Error, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    bsd_locks_exclude_each_other(format(0));
    posix_locks_exclude_each_other_by_range(format(0));
    a_session_that_ends_drops_its_locks(format(0));
}

fn lock(kind: LockKind, start: u64, end: u64) -> FileLock {
    FileLock {
        kind,
        range: LockRange { start, end },
        pid: 42,
    }
}

async fn bsd_locks_exclude_each_other(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (other, other_call) = volume.second().await;
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    meta.flock(&call, ino, 1, LockKind::Read).await.unwrap();
    other
        .flock(&other_call, ino, u64::MAX, LockKind::Read)
        .await
        .unwrap();
    assert_eq!(
        meta.flock(&call, ino, 1, LockKind::Write).await,
        Err(Error::WouldBlock)
    );
    other
        .flock(&other_call, ino, u64::MAX, LockKind::Unlock)
        .await
        .unwrap();
    meta.flock(&call, ino, 1, LockKind::Write).await.unwrap();
    assert_eq!(
        meta.flock(&call, ino, 2, LockKind::Read).await,
        Err(Error::WouldBlock),
        "another owner, same client"
    );
    assert_eq!(
        other.flock(&other_call, ino, 1, LockKind::Read).await,
        Err(Error::WouldBlock),
        "same owner, another client"
    );
    meta.flock(&call, ino, 1, LockKind::Unlock).await.unwrap();
    other
        .flock(&other_call, ino, 1, LockKind::Write)
        .await
        .unwrap();
    assert_eq!(
        meta.flock(&call, Ino(4711), 1, LockKind::Read).await,
        Err(Error::NotFound)
    );
}

async fn posix_locks_exclude_each_other_by_range(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (other, other_call) = volume.second().await;
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    let whole = i64::MAX as u64;
    meta.setlk(&call, ino, 1, lock(LockKind::Write, 0, 99))
        .await
        .unwrap();
    other
        .setlk(&other_call, ino, 1, lock(LockKind::Write, 100, whole))
        .await
        .unwrap();
    assert_eq!(
        other
            .setlk(&other_call, ino, 1, lock(LockKind::Read, 99, 99))
            .await,
        Err(Error::WouldBlock)
    );
    let seen = other
        .getlk(&other_call, ino, 1, lock(LockKind::Read, 0, whole))
        .await
        .unwrap();
    assert_eq!(
        seen,
        Some(FileLock {
            pid: 0,
            ..lock(LockKind::Write, 0, 99)
        }),
        "another machine's pid means nothing"
    );
    let seen = meta
        .getlk(&call, ino, 9, lock(LockKind::Read, 0, 5))
        .await
        .unwrap();
    assert_eq!(seen, Some(lock(LockKind::Write, 0, 99)));
    meta.setlk(&call, ino, 1, lock(LockKind::Unlock, 40, 59))
        .await
        .unwrap();
    other
        .setlk(&other_call, ino, 1, lock(LockKind::Read, 45, 50))
        .await
        .unwrap();
    meta.setlk(&call, ino, 1, lock(LockKind::Unlock, 0, whole))
        .await
        .unwrap();
    assert_eq!(
        other
            .getlk(&other_call, ino, 1, lock(LockKind::Write, 0, whole))
            .await
            .unwrap(),
        None
    );
}

async fn a_session_that_ends_drops_its_locks(volume: Volume) {
    let (meta, call) = (&volume.meta, volume.call());
    let (other, other_call) = volume.second().await;
    let (ino, _) = volume.file(Ino::ROOT, "f").await;
    other
        .flock(&other_call, ino, 1, LockKind::Write)
        .await
        .unwrap();
    other
        .setlk(&other_call, ino, 1, lock(LockKind::Write, 0, 5))
        .await
        .unwrap();
    other
        .close_session(&other_call, other_call.session)
        .await
        .unwrap();
    meta.flock(&call, ino, 1, LockKind::Write).await.unwrap();
    meta.setlk(&call, ino, 1, lock(LockKind::Write, 0, 5))
        .await
        .unwrap();
}
