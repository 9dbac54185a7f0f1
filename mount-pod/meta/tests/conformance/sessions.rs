//! Sessions.

use carafe_meta::{Call, NewNode, SessionInfo};
use carafe_types::{Error, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    sessions_are_listed_and_closed(format(0));
    a_closed_session_lets_its_files_go(format(0));
    a_session_that_was_cleaned_comes_back(format(0));
    a_session_does_not_come_back_in_another_volume(format(0));
}

async fn sessions_are_listed_and_closed(volume: Volume) {
    let info = SessionInfo {
        host_name: "node-1".into(),
        process_id: 7,
        version: "1.3.1".into(),
        ..SessionInfo::default()
    };
    let session = volume
        .meta
        .new_session(&Call::internal(), &info)
        .await
        .unwrap();
    assert!(session > volume.session);
    let listed = volume.meta.sessions(&volume.call()).await.unwrap();
    let found = listed.iter().find(|record| record.id == session).unwrap();
    assert_eq!(found.info.as_ref(), Some(&info));
    volume
        .meta
        .heartbeat(&volume.call(), session)
        .await
        .unwrap();
    volume
        .meta
        .close_session(&volume.call(), session)
        .await
        .unwrap();
    assert_eq!(volume.meta.sessions(&volume.call()).await.unwrap().len(), 1);
    assert_eq!(
        volume
            .meta
            .clean_stale_sessions(&volume.call())
            .await
            .unwrap(),
        0,
        "none expired"
    );
}

async fn a_closed_session_lets_its_files_go(volume: Volume) {
    let (other, call) = volume.second().await;
    let (ino, _, _) = other
        .create_open(&call, Ino::ROOT, b"f", &NewNode::default(), false, false)
        .await
        .unwrap();
    other.unlink(&call, Ino::ROOT, b"f").await.unwrap();
    assert!(volume.meta.getattr(&volume.call(), ino).await.is_ok());
    volume
        .meta
        .close_session(&volume.call(), call.session)
        .await
        .unwrap();
    assert_eq!(
        volume.meta.getattr(&volume.call(), ino).await,
        Err(Error::NotFound)
    );
    assert_eq!(volume.used().await, (0, 0));
}

async fn a_session_that_was_cleaned_comes_back(volume: Volume) {
    let (other, call) = volume.second().await;
    let info = SessionInfo {
        host_name: "node-2".into(),
        ..SessionInfo::default()
    };
    volume
        .meta
        .close_session(&volume.call(), call.session)
        .await
        .unwrap();
    assert!(matches!(
        other.heartbeat(&call, call.session).await,
        Err(Error::Stale(_))
    ));
    other
        .restore_session(&call, call.session, &info)
        .await
        .unwrap();
    other.heartbeat(&call, call.session).await.unwrap();
    let listed = volume.meta.sessions(&volume.call()).await.unwrap();
    let found = listed.iter().find(|record| record.id == call.session);
    assert_eq!(found.unwrap().info.as_ref(), Some(&info));
    // What it opens is sustained again.
    let (ino, _, _) = other
        .create_open(&call, Ino::ROOT, b"f", &NewNode::default(), false, false)
        .await
        .unwrap();
    other.unlink(&call, Ino::ROOT, b"f").await.unwrap();
    assert!(volume.meta.getattr(&volume.call(), ino).await.is_ok());
}

async fn a_session_does_not_come_back_in_another_volume(volume: Volume) {
    let (other, call) = volume.second().await;
    let anew = carafe_types::Format {
        uuid: "another".into(),
        ..format(0)
    };
    volume
        .meta
        .format(&volume.call(), &anew, true)
        .await
        .unwrap();
    for _ in 0..2 {
        let beat = other.heartbeat(&call, call.session).await;
        assert!(matches!(beat, Err(Error::Stale(_))), "{beat:?}");
        let restored = other
            .restore_session(&call, call.session, &SessionInfo::default())
            .await;
        assert!(matches!(restored, Err(Error::Stale(_))), "{restored:?}");
    }
}
