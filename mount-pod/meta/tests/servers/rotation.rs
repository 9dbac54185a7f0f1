//! The database's login changes under a client, in either order with the Secret.

use std::time::Instant;

use carafe_meta::{Call, ConnectError, RenewError};
use carafe_types::{Ino, Secret};

use crate::server::{A_WHILE, Busy, Client, Server, on_every_server};

on_every_server! {
    the_database_changes_first;
    the_secret_changes_first;
    another_place_is_refused;
}

async fn client_of(server: &mut impl Server) -> Client {
    server.make_client("one");
    Client::new(&server.client_url("one")).await
}

async fn the_database_changes_first(mut server: impl Server) {
    let client = client_of(&mut server).await;
    let work = Busy::creating(&client);
    server.set_password("two");
    server.end_connections();
    tokio::time::sleep(A_WHILE).await;
    assert!(!work.has_failed(), "it waits for a login that works");
    // The password apart from the URL, as a Secret has it.
    let (url, password) = (server.client_url("one"), Secret::new("two"));
    let renewed = client.meta.renew_login(&url, Some(&password));
    renewed.await.unwrap();
    client.create("after").await;
    assert!(work.finish().await > 0);
    if let Some(connections) = server.connections() {
        assert!((1..=4).contains(&connections), "{connections} connections");
    }
}

async fn the_secret_changes_first(mut server: impl Server) {
    let client = client_of(&mut server).await;
    let work = Busy::creating(&client);
    let new_url = server.client_url("two");
    let early = client.meta.renew_login(&new_url, None).await;
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
    assert!(work.finish().await > 0);
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

async fn another_place_is_refused(mut server: impl Server) {
    let client = client_of(&mut server).await;
    let other_engine = ("sqlite3:///tmp/s3cret?".to_owned(), "sqlite3://");
    for (url, named) in [server.elsewhere("s3cret"), other_engine] {
        let error = client.meta.renew_login(&url, None).await.unwrap_err();
        assert!(matches!(error, RenewError::Elsewhere { .. }), "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(named) && !said.contains("s3cret"), "{said}");
    }
    let unusable = server.unusable("s3cret");
    let unusable = client.meta.renew_login(&unusable, None).await;
    let said = format!("{unusable:?}");
    assert!(
        matches!(unusable, Err(RenewError::Unusable(_))) && !said.contains("s3cret"),
        "{said}"
    );
    client.create("as before").await;
}

#[tokio::test]
async fn a_file_has_no_login() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(&format!("sqlite3://{}/meta.db", dir.path().display())).await;
    let (url, any) = (client.meta.name(), Secret::new("any"));
    client.meta.renew_login(&url, Some(&any)).await.unwrap();
    let moved = client.meta.renew_login("sqlite3:///else.db", None).await;
    assert!(
        matches!(moved, Err(RenewError::Elsewhere { .. })),
        "{moved:?}"
    );
}
