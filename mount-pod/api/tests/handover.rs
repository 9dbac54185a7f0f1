//! Keeper and mount pod over a real socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use carafe_api::{
    MountArguments, VolumeSecret,
    handover::{
        Attach, Bundle, Channel, Client, FromKeeper, FromPod, HandoverError, Hello, Listener, Usage,
    },
};
use carafe_types::Secret;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(5);

fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

fn pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    std::io::pipe().unwrap()
}

/// A directory whose path alone is longer than a socket address may be.
fn long_directory(root: &Path) -> std::path::PathBuf {
    let dir = root.join("x".repeat(120));
    std::fs::create_dir(&dir).unwrap();
    dir
}

#[tokio::test]
async fn a_pod_attaches_and_gets_secret_and_descriptors() {
    let root = tempfile::tempdir().unwrap();
    let dir = long_directory(root.path());
    let listener = Listener::bind(&dir, user()).unwrap();
    let (mut reader, writer) = pipe();

    let pod = std::thread::spawn(move || {
        let client = Client::connect_patiently(&dir, Some(SECOND)).unwrap();
        let hello = Hello {
            pod: "pod".into(),
            ..Hello::default()
        };
        let attached = client.hello(&hello, &Bundle::default(), SECOND).unwrap();
        assert_eq!(attached.attach.secret.secret_key, Secret::new("s3cr3t"));
        assert_eq!(attached.attach.arguments.volume, "pvc-1");
        let mut device = std::fs::File::from(attached.bundle.device.unwrap());
        device.write_all(b"through the descriptor").unwrap();
        client
            .send_region(attached.bundle.clones[0].as_fd())
            .unwrap();
        client.send(&FromPod::Ready).unwrap();
        let (message, _) = client.receive(Some(SECOND)).unwrap().unwrap();
        assert_eq!(message, FromKeeper::Stats { id: 7 });
        client
            .send(&FromPod::Stats {
                id: 7,
                usage: Usage {
                    total_bytes: 1,
                    ..Usage::default()
                },
            })
            .unwrap();
    });

    let peer = listener.accept().await.unwrap();
    let (hello, fds) = peer.receive().await.unwrap();
    assert!(matches!(hello, FromPod::Hello(hello) if hello.pod == "pod" && hello.protocol == 1));
    assert!(fds.is_empty());
    let clone = writer.try_clone().unwrap();
    let bundle = Bundle {
        device: Some(OwnedFd::from(writer)),
        clones: vec![clone.into()],
        ..Bundle::default()
    };
    let attach = Attach {
        arguments: MountArguments {
            volume: "pvc-1".into(),
            ..MountArguments::default()
        },
        secret: VolumeSecret {
            secret_key: Secret::new("s3cr3t"),
            ..VolumeSecret::default()
        },
        descriptors: bundle.counts(),
        ..Attach::default()
    };
    peer.send(&FromKeeper::Attach(Box::new(attach)), &bundle.borrowed())
        .await
        .unwrap();
    let (region, fds) = peer.receive().await.unwrap();
    assert_eq!((region, fds.len()), (FromPod::Region, 1));
    assert_eq!(peer.receive().await.unwrap().0, FromPod::Ready);
    peer.send(&FromKeeper::Stats { id: 7 }, &[]).await.unwrap();
    assert!(matches!(
        peer.receive().await.unwrap().0,
        FromPod::Stats { id: 7, .. }
    ));
    assert!(matches!(peer.receive().await, Err(HandoverError::Closed)));
    pod.join().unwrap();
    drop((fds, bundle));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through the descriptor");
}

#[tokio::test]
async fn a_pod_gives_back_what_it_holds() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().to_owned();
    let pod = std::thread::spawn(move || {
        // Nobody listens yet: the pod asks again.
        let client = Client::connect_patiently(&dir, Some(SECOND)).unwrap();
        let holds = Bundle {
            device: Some(std::fs::File::open("/dev/null").unwrap().into()),
            region: Some(std::fs::File::open("/dev/zero").unwrap().into()),
            ..Bundle::default()
        };
        let hello = Hello {
            epoch: 3,
            serving: true,
            ..Hello::default()
        };
        client.hello(&hello, &holds, SECOND).map(drop)
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let listener = Listener::bind(root.path(), user()).unwrap();
    let peer = listener.accept().await.unwrap();
    let (message, fds) = peer.receive().await.unwrap();
    let FromPod::Hello(hello) = message else {
        panic!("{message:?}")
    };
    let bundle = Bundle::from_wire(hello.holds, fds).unwrap();
    assert!(bundle.device.is_some() && bundle.region.is_some() && hello.serving);
    peer.send(
        &FromKeeper::Refused {
            reason: "the volume is gone".into(),
        },
        &[],
    )
    .await
    .unwrap();
    let refused = tokio::task::spawn_blocking(|| pod.join().unwrap())
        .await
        .unwrap();
    assert!(
        matches!(refused, Err(HandoverError::Refused(reason)) if reason == "the volume is gone")
    );
}

#[test]
fn a_later_versions_words_are_ignored() {
    let known: FromKeeper =
        serde_json::from_str(r#"{"type":"ping","id":1,"mood":"good"}"#).unwrap();
    assert_eq!(known, FromKeeper::Ping { id: 1 });
    let unknown: FromPod = serde_json::from_str(r#"{"type":"sing"}"#).unwrap();
    assert_eq!(unknown, FromPod::Unknown);
}

#[test]
fn a_garbled_packet_is_refused_and_not_repeated() {
    let (one, two) = Channel::pair().unwrap();
    one.send(&"a secret text", &[]).unwrap();
    let error = two.receive::<FromKeeper>().unwrap_err().to_string();
    assert!(!error.contains("secret text"), "{error}");
}

#[test]
fn the_wrong_number_of_descriptors_is_refused() {
    let counts = Bundle::default().counts();
    let fd: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    assert!(matches!(
        Bundle::from_wire(counts, vec![fd]),
        Err(HandoverError::Descriptors { said: 0, came: 1 })
    ));
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(blob: Vec<u8>, reason in ".{0,200}", id: u64, lasting: bool) {
        let (one, two) = Channel::pair().unwrap();
        let messages = [
            FromPod::InitDone { blob },
            FromPod::Failed { reason, lasting },
            FromPod::Pong { id, serving: lasting },
        ];
        for message in messages {
            one.send(&message, &[]).unwrap();
            prop_assert_eq!(two.receive::<FromPod>().unwrap().0, message);
        }
    }
}
