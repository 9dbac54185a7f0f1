//! What another life of the plugin, a call that was cut or a client that failed leaves
//! behind, and that the next call copes with it.

use std::{
    collections::HashMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use carafe_csi_driver::mount::{MountTable, bind, unmount_lazily};
use tonic::Code;

use crate::{World, pods::Behaviour, secrets};

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_was_never_served_does_not_hold_up_its_end() {
    let world = World::new(Behaviour::Slow(Duration::from_mins(5)));
    let status = world.stage(secrets("one"), &[]).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let start = Instant::now();
    world.unstage().await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "nothing can be dirty: {:?}",
        start.elapsed()
    );
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_failed_is_replaced_on_the_same_mount() {
    let world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.publish("a", false, secrets("one")).await.unwrap();
    let failed = world.pods.state("pvc-1");
    failed.fails.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.stage(secrets("two"), &[]).await.unwrap();
    assert_eq!(world.pods.made(), 2);
    assert!(world.lists("a").await, "it serves what the first one did");
    assert!(*world.pods.state("pvc-1").had_region.lock());
    world.unpublish("a").await;
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_whose_pod_is_gone_gets_another_unasked() {
    let world = World::new(Behaviour::Serve);
    let replacing = tokio::spawn(world.service.clone().replace_lost_pods());
    world.stage(secrets("one"), &[]).await.unwrap();
    world.publish("a", false, secrets("one")).await.unwrap();
    world.pods.lose("pvc-1");
    let until = Instant::now() + Duration::from_secs(10);
    while world.pods.made() < 2 {
        assert!(Instant::now() < until, "no other pod after 10 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(world.lists("a").await, "it serves what the first one did");
    assert!(*world.pods.state("pvc-1").had_region.lock());
    world.unpublish("a").await;
    world.unstage().await.unwrap();
    assert_eq!(world.pods.made(), 2, "an orderly end has no successor");
    replacing.abort();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_a_mount_that_is_gone_does_not_serve_the_next_one() {
    let mut world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    unmount_lazily(&world.path("stage")).unwrap();
    world.restart().await;
    world.stage(secrets("one"), &[]).await.unwrap();
    assert_eq!(world.pods.made(), 2);
    world.publish("a", false, HashMap::new()).await.unwrap();
    assert!(world.lists("a").await);
    world.unpublish("a").await;
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_of_a_dead_pod_is_not_waited_at() {
    let mut world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.pods.evict("pvc-1");
    assert_eq!(world.reborn().await, 0, "nobody will give anything back");
    let start = Instant::now();
    world.stage(secrets("one"), &[]).await.unwrap();
    assert_eq!(world.pods.made(), 2);
    world.pods.evict("pvc-1");
    world.reborn().await;
    world.unstage().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_runs_and_has_not_come_back_is_not_given_up() {
    let mut world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.pods.silence("pvc-1");
    world.reborn().await;
    let (staged, unstaged) = (
        world.stage(secrets("one"), &[]).await,
        world.unstage().await,
    );
    for status in [staged.unwrap_err(), unstaged.unwrap_err()] {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(status.message().contains("has not connected"), "{status}");
    }
    assert_eq!(world.pods.made(), 1, "it may hold what nobody else has");
    // Kubelet sees in the end that it is dead.
    world.pods.evict("pvc-1");
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_mount_whose_connection_is_lost_is_published_anew() {
    let mut world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.publish("a", false, secrets("one")).await.unwrap();
    world.pods.evict("pvc-1");
    world.reborn().await;
    assert!(!world.lists("a").await, "plugin and pod are dead at once");
    world.publish("a", false, secrets("one")).await.unwrap();
    assert!(world.lists("a").await);
    world.unpublish("a").await;
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_pod_that_is_deleted_comes_back_with_the_next_publish() {
    let world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.publish("a", false, secrets("one")).await.unwrap();
    world.pods.kill_all();
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.publish("a", false, secrets("one")).await.unwrap();
    assert_eq!(world.pods.made(), 2);
    assert!(world.lists("a").await);
    world.unpublish("a").await;
    world.unstage().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_nothing_is_swept_and_nothing_else() {
    let mut world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    world.service.sweep().await.unwrap();
    world.pods.evict("pvc-1");
    world.reborn().await;
    // Kubelet cannot clear a dead mount away: it does not even come to ask.
    world.service.sweep().await.unwrap();
    world.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_mount_at_kubelets_path_is_taken_away() {
    let mut world = World::new(Behaviour::Serve);
    world.stage(secrets("one"), &[]).await.unwrap();
    let dir = world.path("plugins/kubernetes.io/csi/csi.carafe.io/0123");
    let (global, data) = (dir.join("globalmount"), dir.join("vol_data.json"));
    std::fs::create_dir_all(&global).unwrap();
    std::fs::write(
        data,
        r#"{"volumeHandle":"pvc-1","driverName":"csi.carafe.io"}"#,
    )
    .unwrap();
    bind(&world.path("stage"), &global, false).unwrap();
    let is_mounted = || MountTable::read().unwrap().at(&global).is_some();
    world.service.sweep().await.unwrap();
    assert!(is_mounted(), "a pod serves it");
    world.pods.kill_all();
    world.reborn().await;
    world.service.sweep().await.unwrap();
    assert!(!is_mounted(), "nobody can");
    world.unstage().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_kubelet_hangs_up_on_leave_nothing_that_stays() {
    let world = World::new(Behaviour::Serve);
    for millis in [0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 60] {
        let patience = Duration::from_millis(millis);
        let _ = tokio::time::timeout(patience, world.stage(secrets("one"), &[])).await;
        world.stage(secrets("one"), &[]).await.unwrap();
        world.publish("a", false, HashMap::new()).await.unwrap();
        assert!(world.lists("a").await, "after {millis} ms");
        world.unpublish("a").await;
        let _ = tokio::time::timeout(patience, world.unstage()).await;
        world.unstage().await.unwrap();
        world.assert_nothing_left();
        let _ = tokio::time::timeout(patience, world.stage(secrets("one"), &[])).await;
        world.unstage().await.unwrap();
        world.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_dies_in_the_middle_of_a_call_is_followed_by_one_that_copes() {
    let mut world = World::new(Behaviour::Serve);
    for millis in [0, 2, 8, 16, 24, 32, 60] {
        let patience = Duration::from_millis(millis);
        let _ = tokio::time::timeout(patience, world.stage(secrets("one"), &[])).await;
        world.reborn().await;
        world.stage(secrets("one"), &[]).await.unwrap();
        let _ = tokio::time::timeout(patience, world.unstage()).await;
        world.reborn().await;
        world.unstage().await.unwrap();
        world.assert_nothing_left();
    }
}
