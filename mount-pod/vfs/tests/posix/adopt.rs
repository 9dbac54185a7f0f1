//! A successor over the region of a predecessor that went without a flush.

use std::time::Duration;

use carafe_meta::{ConnectOptions, connect};
use carafe_state::Region;
use carafe_vfs::Config;

use crate::fixture::{BLOCK, File, Volume, pattern};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_bytes_and_handles_outlive_the_mount() {
    for pack in [false, true] {
        let volume = Volume::new().await;
        let config = Config {
            max_dirty_age: Duration::from_hours(1),
            pack,
            ..Config::default()
        };
        let first = volume.mount(config.clone()).await;
        let file = first.create("survivor").await;
        // A full block that uploads, a part that does not, an overwrite of each, a gap.
        let mut expected = pattern(1, BLOCK as usize + 5000);
        first.write(&file, 0, &expected).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        for at in [100, BLOCK as usize + 100] {
            first.write(&file, at as u64, b"overwritten").await.unwrap();
            expected[at..at + 11].copy_from_slice(b"overwritten");
        }
        first.write(&file, 200_000, b"behind a gap").await.unwrap();
        expected.resize(200_000, 0);
        expected.extend(b"behind a gap");
        let File { ino, handle } = file;
        let fd = first.region.fd().try_clone_to_owned().unwrap();
        drop(first);
        tokio::time::sleep(Duration::from_millis(400)).await;

        let region = Region::attach(fd).unwrap();
        let recovery = region.recover();
        assert_eq!((recovery.torn, recovery.handles.len()), (0, 1));
        let meta = connect(volume.url(), None, ConnectOptions::default())
            .await
            .unwrap();
        let second = volume.mount_region(meta, region, config);
        second.vfs.adopt(recovery).await.unwrap();
        let file = File { ino, handle };
        assert_eq!(
            second.read(&file, 0, 1 << 20).await,
            expected,
            "pack: {pack}"
        );
        second.write(&file, 0, b"goes on").await.unwrap();
        expected[..7].copy_from_slice(b"goes on");
        second.close(file).await.unwrap();
        let third = volume.mount(Config::default()).await;
        let file = third.open(ino).await;
        assert_eq!(
            third.read(&file, 0, 1 << 20).await,
            expected,
            "pack: {pack}"
        );
    }
}
