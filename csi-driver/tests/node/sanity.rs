//! Kubernetes's own conformance test for CSI drivers, csi-sanity, over a socket: the
//! controller on SQLite and a directory, the node on pods that are threads. The same
//! against the real client runs in the cluster tests.

use std::{sync::Arc, time::Duration};

use carafe_csi_driver::{
    controller::{ClaimTags, ControllerService, Engines, Tags},
    identity::IdentityService,
    proto::csi::{
        controller_server::ControllerServer, identity_server::IdentityServer,
        node_server::NodeServer,
    },
    server,
};
use carafe_testkit::{csi_sanity, csi_sanity_secrets};
use tonic::transport::Server;

use crate::{World, pods::Behaviour};

struct NoClaims;

#[tonic::async_trait]
impl ClaimTags for NoClaims {
    async fn tags(&self, _namespace: &str, _claim: &str) -> Result<Tags, String> {
        Ok(Tags::default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csi_sanity_is_content() {
    let world = World::new(Behaviour::Serve);
    let socket = world.path("csi.sock");
    let engines = Arc::new(Engines::new(Duration::from_secs(10)));
    let controller = ControllerService::new(engines, Arc::new(NoClaims));
    let router = Server::builder()
        .add_service(IdentityServer::new(IdentityService {
            driver_name: "csi.carafe.io".into(),
        }))
        .add_service(ControllerServer::new(controller))
        .add_service(NodeServer::new(world.service.clone()));
    let listener = server::listen(&socket).unwrap();
    tokio::spawn(server::serve(router, listener, std::future::pending()));

    let secrets = world.path("secrets.yaml");
    std::fs::write(&secrets, sqlite_secrets(&world.text(""))).unwrap();
    let mut sanity = tokio::process::Command::new(csi_sanity());
    sanity
        .arg(format!("--csi.endpoint={}", socket.display()))
        .arg(format!("--csi.secrets={}", secrets.display()))
        .arg(format!("--csi.mountdir={}", world.text("sanity-mount")))
        .arg(format!("--csi.stagingdir={}", world.text("sanity-staging")))
        .arg("--ginkgo.no-color")
        .kill_on_drop(true);
    let run = tokio::time::timeout(Duration::from_mins(3), sanity.output());
    let output = run.await.expect("csi-sanity ends").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text
        .lines()
        .rev()
        .find(|line| line.contains("Passed"))
        .unwrap_or_default();
    println!("csi-sanity: {summary}");
    assert!(output.status.success(), "{text}");
    world.assert_nothing_left();
}

fn sqlite_secrets(root: &str) -> String {
    csi_sanity_secrets(&[
        ("name", "demo"),
        ("metaurl", &format!("sqlite3://{root}/meta.db")),
        ("storage", "file"),
        ("bucket", &format!("{root}/store/")),
    ])
}
