//! The database's login changes under a client, in either order with the Secret.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use carafe_meta::{Call, ConnectError, RenewError};
use carafe_types::{Ino, Secret};

use crate::server::{Client, Server, on_every_server};

/// Longer than a refused client pauses between its first attempts.
const A_WHILE: Duration = Duration::from_millis(300);

on_every_server! {
    the_database_changes_first;
    the_secret_changes_first;
    another_place_is_refused;
}

/// Creates files one after another until told to stop; answers how many.
fn busy(client: &Client) -> (tokio::task::JoinHandle<usize>, Arc<AtomicBool>) {
    let (client, stop) = (client.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let work = tokio::spawn(async move {
        let mut done = 0;
        while !stopped.load(Ordering::Relaxed) {
            client.create(&format!("busy-{done}")).await;
            done += 1;
        }
        done
    });
    (work, stop)
}

async fn client_of(server: &Server) -> Client {
    server.make_client("one");
    Client::new(&server.client_url("one")).await
}

async fn the_database_changes_first(server: Server) {
    let client = client_of(&server).await;
    let (work, stop) = busy(&client);
    server.set_password("two");
    server.end_connections();
    tokio::time::sleep(A_WHILE).await;
    assert!(!work.is_finished(), "it waits for a login that works");
    // The password apart from the URL, as a Secret has it.
    let url = server.client_url("one");
    client
        .meta
        .renew_login(&url, Some(&Secret::new("two")))
        .await
        .unwrap();
    client.create("after").await;
    stop.store(true, Ordering::Relaxed);
    assert!(work.await.unwrap() > 0);
    let connections = server.connections();
    assert!((1..=4).contains(&connections), "{connections} connections");
}

async fn the_secret_changes_first(server: Server) {
    let client = client_of(&server).await;
    let (work, stop) = busy(&client);
    let early = client
        .meta
        .renew_login(&server.client_url("two"), None)
        .await;
    let Err(RenewError::Pending(ConnectError::Refused { reason, .. })) = &early else {
        panic!("{early:?}");
    };
    assert!(!reason.contains("two"), "{reason}");
    client.create("with the old connection").await;
    // The old login must do for a new connection too, as long as it works.
    server.end_connections();
    client.create("with the old login").await;
    server.set_password("two");
    client.create("still connected").await;
    server.end_connections();
    client.create("with the new login").await;
    stop.store(true, Ordering::Relaxed);
    assert!(work.await.unwrap() > 0);
    // The old password is forgotten: it is not tried when it works again.
    server.set_password("one");
    server.end_connections();
    let call = Call {
        deadline: Some(Instant::now() + 4 * A_WHILE),
        ..Call::internal()
    };
    let refused = client.meta.getattr(&call, Ino::ROOT).await.unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("password is wrong"), "{refused}");
}

async fn another_place_is_refused(server: Server) {
    let client = client_of(&server).await;
    let elsewhere = server.client_url_of("other", "s3cret");
    for (url, named) in [
        (elsewhere, "/other"),
        ("sqlite3:///tmp/s3cret?".into(), "sqlite3://"),
    ] {
        let error = client.meta.renew_login(&url, None).await.unwrap_err();
        assert!(matches!(error, RenewError::Elsewhere { .. }), "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(named) && !said.contains("s3cret"), "{said}");
    }
    let unusable = server.client_url_of("", "s3cret");
    let unusable = client.meta.renew_login(&unusable, None).await;
    let said = format!("{unusable:?}");
    assert!(
        matches!(unusable, Err(RenewError::Unusable(_))) && !said.contains("s3cret"),
        "{said}"
    );
    client.create("as before").await;
}
