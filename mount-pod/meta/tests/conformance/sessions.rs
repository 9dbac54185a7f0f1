//! Sessions.

use carafe_meta::{Call, NewNode, SessionInfo};
use carafe_types::{Error, Ino};

use crate::engines::{Volume, format, on_every_engine};

on_every_engine! {
    sessions_are_listed_and_closed(format(0));
    a_closed_session_lets_its_files_go(format(0));
    a_session_that_was_cleaned_is_stale(format(0));
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

async fn a_session_that_was_cleaned_is_stale(volume: Volume) {
    let (other, call) = volume.second().await;
    volume
        .meta
        .close_session(&volume.call(), call.session)
        .await
        .unwrap();
    assert!(matches!(
        other.heartbeat(&call, call.session).await,
        Err(Error::Stale(_))
    ));
}
