//! How fast an engine answers, without FUSE: `cargo run --release -p carafe-meta
//! --example speed -- <metadata URL> [tasks]`. The volume is formatted if it is new.
#![allow(clippy::unwrap_used, reason = "a tool for developers")]

use std::{sync::Arc, time::Instant};

use carafe_meta::{
    Call, ConnectOptions, Meta, NewNode, RenameFlags, SessionInfo, SliceCommit, connect,
};
use carafe_types::{FileType, Format, Ino, Slice, SliceId, Timestamp};

const EACH: usize = 2000;

#[expect(clippy::too_many_lines, reason = "one paragraph an operation")]
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap();
    let tasks: usize = arguments.next().map_or(8, |tasks| tasks.parse().unwrap());
    let meta = connect(&url, None, ConnectOptions::default())
        .await
        .unwrap();
    let format = Format {
        name: "speed".into(),
        uuid: "speed".into(),
        trash_days: 0,
        ..Format::default()
    };
    meta.format(&Call::internal(), &format, false)
        .await
        .unwrap();
    let session = meta
        .new_session(&Call::internal(), &SessionInfo::default())
        .await
        .unwrap();
    let call = Call {
        session,
        ..Call::internal()
    };
    let node = NewNode {
        kind: FileType::Directory,
        mode: 0o755,
        ..NewNode::default()
    };
    let name = format!("run-{session}");
    let (dir, _) = meta
        .create(&call, Ino::ROOT, name.as_bytes(), &node)
        .await
        .unwrap();

    run(
        "create",
        &meta,
        tasks,
        move |meta, call, task, number| async move {
            let name = format!("{task}-{number}");
            meta.create(&call, dir, name.as_bytes(), &NewNode::default())
                .await
                .map(|_| ())
                .unwrap();
        },
        &call,
    )
    .await;
    run(
        "lookup",
        &meta,
        tasks,
        move |meta, call, task, number| async move {
            meta.lookup(&call, dir, format!("{task}-{number}").as_bytes())
                .await
                .map(|_| ())
                .unwrap();
        },
        &call,
    )
    .await;
    run(
        "commit",
        &meta,
        tasks,
        move |meta, call, task, number| async move {
            let ino = meta
                .lookup(&call, dir, format!("{task}-{number}").as_bytes())
                .await
                .unwrap()
                .0;
            let id = SliceId(1_000_000_000_000 + ino.0);
            let commit = SliceCommit {
                ino,
                index: 0,
                slice: Slice::whole(0, id, 4096),
                mtime: Timestamp::default(),
            };
            meta.commit(&call, &[commit]).await.map(|_| ()).unwrap();
        },
        &call,
    )
    .await;
    run(
        "rename",
        &meta,
        tasks,
        move |meta, call, task, number| async move {
            let (old, new) = (format!("{task}-{number}"), format!("{task}-{number}-new"));
            meta.rename(
                &call,
                dir,
                old.as_bytes(),
                dir,
                new.as_bytes(),
                RenameFlags::None,
            )
            .await
            .map(|_| ())
            .unwrap();
        },
        &call,
    )
    .await;
    run(
        "unlink",
        &meta,
        tasks,
        move |meta, call, task, number| async move {
            meta.unlink(&call, dir, format!("{task}-{number}-new").as_bytes())
                .await
                .unwrap();
        },
        &call,
    )
    .await;
}

/// Runs one operation [`EACH`] times in each task and prints how many a second.
async fn run<F: Future<Output = ()> + Send + 'static>(
    what: &str,
    meta: &Arc<dyn Meta>,
    tasks: usize,
    operation: impl Fn(Arc<dyn Meta>, Call, usize, usize) -> F + Copy + Send + 'static,
    call: &Call,
) {
    let started = Instant::now();
    let mut set = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (meta, call) = (meta.clone(), call.clone());
        set.spawn(async move {
            for number in 0..EACH {
                operation(meta.clone(), call.clone(), task, number).await;
            }
        });
    }
    set.join_all().await;
    println!(
        "{what:8} {:>8.0}/s",
        (tasks * EACH) as f64 / started.elapsed().as_secs_f64()
    );
}
