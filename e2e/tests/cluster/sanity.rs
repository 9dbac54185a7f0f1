//! Kubernetes's own conformance test for CSI drivers, against the driver that the
//! chart has installed: its controller, its node plugin, its mount pods, on Redis
//! and S3.

use std::fs;

use carafe_e2e::chart;
use carafe_e2e::node::Node;
use carafe_e2e::shell;
use carafe_e2e::tools::Tools;
use carafe_testkit::csi_sanity_secrets;
use k8s_openapi::api::core::v1::Pod;

use crate::fixture::{Fixture, eventually};
use crate::mount_pods::local_node;
use crate::storage::FileSystem;

#[tokio::test]
async fn csi_sanity_is_content_with_the_installed_driver() {
    let test = Fixture::new("sanity").await.with_driver().await;
    let system = FileSystem::new(&test).await;
    let controllers = test
        .pods_labelled(chart::NAMESPACE, "app.kubernetes.io/name=carafe-controller")
        .await;
    let controller = controllers.first().expect("the controller runs");
    let name = controller.spec.as_ref().unwrap().node_name.clone().unwrap();
    let Some(node) = local_node(&name) else {
        return;
    };
    let before = mounts(&node);
    let said = run(&node, controller, &system);
    let summary = said.lines().rev().find(|line| line.contains("Passed"));
    println!("csi-sanity: {}", summary.unwrap_or_default());
    eventually("a clean node", || async {
        let left: Vec<_> = mounts(&node)
            .into_iter()
            .filter(|mount| !before.contains(mount))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(format!("{left:#?}"))
    })
    .await;
    assert_eq!(
        system.redis(&["HLEN", "dirQuota"]).trim(),
        "0",
        "no volume is left"
    );
}

/// In the node's own view, where both sockets are; paths that the plugin mounts
/// must lie in kubelet's directory, which it shares with its node.
fn run(node: &Node, controller: &Pod, system: &FileSystem) -> String {
    let kubelet = "/var/lib/kubelet";
    let uid = controller.metadata.uid.as_deref().unwrap();
    let secrets = node.dir().join("sanity-secrets.yaml");
    fs::write(&secrets, secrets_of_every_call(system)).unwrap();
    let program = Tools::find().unwrap().program("csi-sanity").unwrap();
    let mut sanity = node.sandbox().unwrap().command("timeout");
    sanity.arg("300").arg(program).args([
        format!("--csi.endpoint={kubelet}/plugins/csi.carafe.io/csi.sock"),
        format!("--csi.controllerendpoint={kubelet}/pods/{uid}/volumes/kubernetes.io~empty-dir/socket/csi.sock"),
        format!("--csi.secrets={}", secrets.display()),
        format!("--csi.mountdir={kubelet}/sanity-mount"),
        format!("--csi.stagingdir={kubelet}/sanity-staging"),
        "--ginkgo.no-color".to_owned(),
    ]);
    let said = shell::run(&mut sanity);
    fs::remove_file(secrets).unwrap();
    said.unwrap()
}

fn secrets_of_every_call(system: &FileSystem) -> String {
    csi_sanity_secrets(&[
        ("name", &system.name),
        ("metaurl", &system.metaurl),
        ("storage", "s3"),
        ("bucket", &system.bucket),
        ("access-key", &system.access_key),
        ("secret-key", &system.secret_key),
    ])
}

/// What other tests mount meanwhile is theirs: only ours are told by their path.
fn mounts(node: &Node) -> Vec<String> {
    let table = node.mountinfo().unwrap();
    let ours = table.lines().filter(|line| line.contains("sanity-"));
    ours.map(str::to_owned).collect()
}
