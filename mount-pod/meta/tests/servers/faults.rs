//! A server that refuses, hangs or restarts.

use std::time::{Duration, Instant};

use carafe_meta::{Call, ConnectError, ConnectOptions, NewNode, connect};
use carafe_types::{Error, Ino, Secret};

use crate::server::{Busy, Client, Server, on_every_server, refusal};

on_every_server! {
    a_hung_server_is_waited_for_until_the_deadline;
    restarts_are_survived_exactly_once;
    a_wrong_password_is_told_and_never_shown;
}

async fn a_hung_server_is_waited_for_until_the_deadline(server: impl Server) {
    let client = Client::new(&server.fresh()).await;
    server.hang();
    let started = Instant::now();
    let call = Call {
        deadline: Some(started + Duration::from_millis(500)),
        ..client.call()
    };
    let answer = client.meta.getattr(&call, Ino::ROOT).await;
    assert!(matches!(answer, Err(Error::TimedOut(_))), "{answer:?}");
    let node = NewNode::default();
    let made = client.meta.create(&call, Ino::ROOT, b"f", &node).await;
    assert!(matches!(made, Err(Error::TimedOut(_))), "{made:?}");
    assert!(started.elapsed() < Duration::from_secs(3));
    server.resume();
    // The same operation, asked again, whether or not it was done meanwhile.
    let again = Call {
        deadline: None,
        ..call
    };
    let made = client.meta.create(&again, Ino::ROOT, b"f", &node);
    made.await.unwrap();
}

/// Killed again and again under load: every operation is answered, and each took
/// effect once.
async fn restarts_are_survived_exactly_once(mut server: impl Server) {
    let client = Client::new(&server.fresh()).await;
    let tasks: Vec<_> = (0..4).map(|task| churn(&client, task)).collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::task::block_in_place(|| server.restart());
    }
    let mut left = 0;
    for task in tasks {
        // Every second file was removed, the first one first.
        left += task.finish().await / 2;
    }
    assert!(left > 0, "something was done");
    assert_eq!(client.entries().await, left);
    let stat = client.meta.statfs(&Call::internal(), Ino::ROOT).await;
    assert_eq!(stat.unwrap().used_inodes, left as u64, "counted once each");
}

/// Makes and moves files, and removes every second one.
fn churn(client: &Client, task: usize) -> Busy {
    let client = client.clone();
    Busy::start(move |number| {
        let client = client.clone();
        async move {
            let (old, new) = (format!("{task}-{number}"), format!("{task}-{number}-new"));
            client.create(&old).await;
            client.rename(&old, &new).await;
            if number % 2 == 0 {
                client.unlink(&new).await;
            }
        }
    })
}

async fn a_wrong_password_is_told_and_never_shown(mut server: impl Server) {
    const SECRET: &str = "s3cr3t-of-the-test";
    server.make_client(SECRET);
    let wrong = server.client_url("s3cr3t-of-the-test-not");
    for url in [vec![wrong.clone()], server.anonymous_urls()].concat() {
        let error = refusal(&url).await;
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains(SECRET), "{said}");
        assert!(
            said.contains("META_PASSWORD") && said.contains("metaurl"),
            "{said}"
        );
    }
    let secret = Secret::new(SECRET);
    let meta = connect(&wrong, Some(&secret), ConnectOptions::default())
        .await
        .unwrap();
    assert!(!meta.name().contains(SECRET));
    let loaded = meta.load(&Call::internal()).await;
    assert_eq!(loaded.err(), Some(Error::NotFound), "not formatted");
}
