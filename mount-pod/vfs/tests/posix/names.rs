//! Names, sub-directories as roots, listings, locks, and what is hidden.

use std::time::Duration;

use carafe_meta::{FileLock, LockKind, LockRange, NewVolume, RenameFlags, TOMBSTONES};
use carafe_types::{Error, FileType, Ino};
use carafe_vfs::{Config, OpenFlags};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Mount, Volume};

async fn names(mount: &Mount, dir: Ino, page: usize) -> Vec<String> {
    let handle = mount.vfs.opendir(&mount.call, dir).await.unwrap().handle;
    let (mut cookie, mut names) = (0, Vec::new());
    loop {
        let items = mount
            .vfs
            .readdir(&mount.call, dir, handle, cookie, page, true)
            .await
            .unwrap();
        let Some(last) = items.last() else { break };
        cookie = last.next;
        names.extend(
            items
                .iter()
                .map(|item| String::from_utf8(item.name.clone()).unwrap()),
        );
    }
    mount
        .vfs
        .releasedir(&mount.call, dir, handle)
        .await
        .unwrap();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_volumes_are_not_shown() {
    let volume = Volume::new().await;
    let internal = carafe_meta::Call::internal();
    for id in ["kept", "deleted"] {
        let new = NewVolume {
            id: id.into(),
            path: id.into(),
            mode: 0o755,
            ..NewVolume::default()
        };
        volume.meta.create_volume(&internal, &new).await.unwrap();
    }
    volume
        .meta
        .delete_volume(&internal, "deleted")
        .await
        .unwrap();
    let tombstones = std::str::from_utf8(TOMBSTONES).unwrap();
    volume
        .meta
        .lookup(&internal, Ino::ROOT, TOMBSTONES)
        .await
        .unwrap();
    let whole = volume.mount(Config::default()).await;
    for page in [1, 2, 100] {
        let mut names = names(&whole, Ino::ROOT, page).await;
        names.sort();
        assert_eq!(names, [".", "..", "kept"], "{page} a page, no {tombstones}");
    }
    let (vfs, call) = (&whole.vfs, &whole.call);
    let found = vfs.lookup(call, Ino::ROOT, TOMBSTONES).await;
    assert!(matches!(found, Err(Error::NotFound)), "{found:?}");
    let made = vfs.mkdir(call, Ino::ROOT, TOMBSTONES, 0o755, 0).await;
    assert!(matches!(made, Err(Error::NotPermitted)), "{made:?}");
    let moved = vfs
        .rename(
            call,
            Ino::ROOT,
            TOMBSTONES,
            Ino::ROOT,
            b"x",
            RenameFlags::None,
        )
        .await;
    assert!(matches!(moved, Err(Error::NotPermitted)), "{moved:?}");
    // Below the root the name is anybody's.
    let kept = vfs.lookup(call, Ino::ROOT, b"kept").await.unwrap().ino;
    vfs.mkdir(call, kept, TOMBSTONES, 0o755, 0).await.unwrap();
    vfs.lookup(call, kept, TOMBSTONES).await.unwrap();
    assert!(
        names(&whole, kept, 1)
            .await
            .contains(&tombstones.to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_sees_only_its_directory() {
    let volume = Volume::new().await;
    let whole = volume.mount(Config::default()).await;
    whole.create("secret").await;
    let dir = whole
        .vfs
        .mkdir(&whole.call, Ino::ROOT, b"claim", 0o755, 0)
        .await
        .unwrap()
        .ino;
    let claim = volume
        .mount(Config {
            root: dir,
            hide_internal: true,
            ..Config::default()
        })
        .await;
    let root = claim.vfs.getattr(&claim.call, Ino::ROOT).await.unwrap();
    assert_eq!(root.ino, Ino::ROOT);
    assert!(matches!(
        claim.vfs.lookup(&claim.call, Ino::ROOT, b"secret").await,
        Err(Error::NotFound)
    ));
    let up = claim
        .vfs
        .lookup(&claim.call, Ino::ROOT, b"..")
        .await
        .unwrap();
    assert_eq!(
        (up.ino, up.attr.mode),
        (Ino::ROOT, root.attr.mode),
        "`..` stays at the root"
    );
    for hidden in [".trash", ".stats", ".control", ".config", ".accesslog"] {
        let found = claim
            .vfs
            .lookup(&claim.call, Ino::ROOT, hidden.as_bytes())
            .await;
        assert!(matches!(found, Err(Error::NotFound)), "{hidden}");
    }
    assert!(matches!(
        claim.vfs.getattr(&claim.call, Ino::TRASH).await,
        Err(Error::NotFound)
    ));
    let sub = claim
        .vfs
        .mkdir(&claim.call, Ino::ROOT, b"sub", 0o755, 0)
        .await
        .unwrap()
        .ino;
    assert_eq!(
        claim.vfs.lookup(&claim.call, sub, b"..").await.unwrap().ino,
        Ino::ROOT
    );
    let file = claim.create("file").await;
    claim.write(&file, 0, b"inside").await.unwrap();
    claim.close(file).await.unwrap();
    let (_, attr) = volume
        .meta
        .resolve(&carafe_meta::Call::internal(), Ino::ROOT, b"claim/file")
        .await
        .unwrap();
    assert_eq!(attr.length, 6);
    assert_eq!(
        names(&claim, Ino::ROOT, 100).await.len(),
        4,
        "`.`, `..`, file, sub"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_go_on_from_any_cookie() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    for number in 0..57 {
        mount
            .vfs
            .mknod(
                &mount.call,
                Ino::ROOT,
                format!("n{number}").as_bytes(),
                0o100_644,
                0,
                0,
            )
            .await
            .unwrap();
    }
    let mut expected: Vec<_> = (0..57)
        .map(|number| format!("n{number}"))
        .chain([".".into(), "..".into()])
        .collect();
    expected.sort();
    for page in [1, 2, 7, 1000] {
        let mut found = names(&mount, Ino::ROOT, page).await;
        found.sort();
        assert_eq!(found, expected, "pages of {page}");
    }
    // What a reader had no room for is given again.
    let handle = mount
        .vfs
        .opendir(&mount.call, Ino::ROOT)
        .await
        .unwrap()
        .handle;
    let all = mount
        .vfs
        .readdir(&mount.call, Ino::ROOT, handle, 0, 1000, false)
        .await
        .unwrap();
    let rest = mount
        .vfs
        .readdir(&mount.call, Ino::ROOT, handle, all[9].next, 1000, false)
        .await
        .unwrap();
    let name = |item: &carafe_vfs::DirItem| item.name.clone();
    assert_eq!(
        all[10..].iter().map(name).collect::<Vec<_>>(),
        rest.iter().map(name).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_mount_changes_nothing() {
    let volume = Volume::new().await;
    let file = volume.mount(Config::default()).await.create("there").await;
    let mount = volume
        .mount(Config {
            read_only: true,
            ..Config::default()
        })
        .await;
    let call = &mount.call;
    assert!(matches!(
        mount.vfs.mkdir(call, Ino::ROOT, b"d", 0o755, 0).await,
        Err(Error::ReadOnly)
    ));
    assert!(matches!(
        mount.vfs.unlink(call, Ino::ROOT, b"there").await,
        Err(Error::ReadOnly)
    ));
    assert!(matches!(
        mount.vfs.open(call, file.ino, OpenFlags::RDWR).await,
        Err(Error::ReadOnly)
    ));
    assert!(
        mount
            .vfs
            .open(call, file.ino, OpenFlags::READ)
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_all_kinds() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let call = &mount.call;
    let fifo = mount
        .vfs
        .mknod(call, Ino::ROOT, b"fifo", 0o010_600, 0o22, 0)
        .await
        .unwrap();
    assert_eq!(fifo.attr.kind, FileType::Fifo);
    let link = mount
        .vfs
        .symlink(call, Ino::ROOT, b"link", b"to/somewhere")
        .await
        .unwrap();
    assert_eq!(
        mount.vfs.readlink(call, link.ino).await.unwrap(),
        b"to/somewhere"
    );
    let file = mount.create("file").await;
    assert_eq!(
        mount
            .vfs
            .link(call, file.ino, Ino::ROOT, b"twin")
            .await
            .unwrap()
            .attr
            .nlink,
        2
    );
    mount
        .vfs
        .rename(
            call,
            Ino::ROOT,
            b"twin",
            Ino::ROOT,
            b"moved",
            RenameFlags::None,
        )
        .await
        .unwrap();
    assert!(matches!(
        mount.vfs.rmdir(call, Ino::ROOT, b"moved").await,
        Err(Error::NotDirectory)
    ));
    let taken = mount
        .vfs
        .rename(
            call,
            Ino::ROOT,
            b"moved",
            Ino::ROOT,
            b"fifo",
            RenameFlags::NoReplace,
        )
        .await;
    assert!(matches!(taken, Err(Error::Exists)));
    let long = vec![b'x'; 256];
    assert!(matches!(
        mount.vfs.lookup(call, Ino::ROOT, &long).await,
        Err(Error::NameTooLong)
    ));
    assert!(matches!(
        mount.vfs.mkdir(call, Ino::ROOT, b".stats", 0o755, 0).await,
        Err(Error::NotPermitted)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_opens_what_is_there() {
    let volume = Volume::new().await;
    let mount = volume.mount(Config::default()).await;
    let file = mount.create("file").await;
    mount.write(&file, 0, b"dirty bytes").await.unwrap();
    let flags = OpenFlags(OpenFlags::RDWR.0 | 0o1000);
    let again = mount
        .vfs
        .create(&mount.call, Ino::ROOT, b"file", 0o600, 0, flags)
        .await
        .unwrap();
    assert_eq!(
        (again.entry.ino, again.entry.attr.length),
        (file.ino, 0),
        "truncated, dirty bytes too"
    );
    let exclusive = OpenFlags(OpenFlags::RDWR.0 | 0o200);
    let refused = mount
        .vfs
        .create(&mount.call, Ino::ROOT, b"file", 0o600, 0, exclusive)
        .await;
    assert!(matches!(refused, Err(Error::Exists)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_waited_for_and_waiting_can_be_cancelled() {
    let volume = Volume::new().await;
    let (one, two) = (
        volume.mount(Config::default()).await,
        volume.mount(Config::default()).await,
    );
    let file = one.create("locked").await;
    let lock = FileLock {
        kind: LockKind::Write,
        range: LockRange { start: 0, end: 9 },
        pid: 1,
    };
    one.vfs.setlk(&one.call, file.ino, 1, lock).await.unwrap();
    assert!(matches!(
        two.vfs.setlk(&two.call, file.ino, 1, lock).await,
        Err(Error::WouldBlock)
    ));
    assert!(
        two.vfs
            .getlk(&two.call, file.ino, 1, lock)
            .await
            .unwrap()
            .is_some()
    );
    let cancel = CancellationToken::new();
    let wait = two.vfs.setlkw(&two.call, file.ino, 1, lock, &cancel);
    let (waited, ()) = tokio::join!(wait, async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cancel.cancel();
    });
    assert!(matches!(waited, Err(Error::Interrupted)));
    let token = CancellationToken::new();
    let wait = two.vfs.setlkw(&two.call, file.ino, 1, lock, &token);
    // The close of a file drops its owner's locks.
    let (waited, flushed) = tokio::join!(wait, one.vfs.flush(&one.call, file.ino, file.handle, 1));
    flushed.unwrap();
    waited.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn virtual_files_are_read_only_figures() {
    let volume = Volume::new().await;
    let mount = volume
        .mount(Config {
            description: "{}".into(),
            ..Config::default()
        })
        .await;
    let stats = mount
        .vfs
        .lookup(&mount.call, Ino::ROOT, b".stats")
        .await
        .unwrap();
    let opened = mount
        .vfs
        .open(&mount.call, stats.ino, OpenFlags::READ)
        .await
        .unwrap();
    assert!(opened.direct_io);
    let text = mount
        .vfs
        .read(&mount.call, stats.ino, opened.handle, 0, 10_000)
        .await
        .unwrap()
        .concat();
    assert!(
        String::from_utf8(text)
            .unwrap()
            .contains("carafe_buffer_capacity_bytes")
    );
}
