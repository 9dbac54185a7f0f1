//! What every other test stands on: the cluster itself.

use carafe_e2e::cluster as local;
use carafe_e2e::tools::Tools;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};

use crate::cluster;
use crate::fixture::{Fixture, toolbox_pod};

#[tokio::test]
async fn two_nodes_are_ready_and_run_pods() {
    let test = Fixture::new("ground-nodes").await;
    let nodes = Api::<Node>::all(test.client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    for node in &nodes {
        let conditions = node.status.as_ref().unwrap().conditions.as_ref().unwrap();
        assert!(
            conditions
                .iter()
                .any(|one| one.type_ == "Ready" && one.status == "True"),
            "{conditions:?}"
        );
    }
    let (_guard, nodes) = test.both_nodes().await;
    for node in nodes {
        let name = format!("on-{node}");
        test.start_pod(&name, &node, &[]);
        test.pod_ready(&name).await;
        assert_eq!(test.sh(&name, "echo $((6 * 7))").unwrap().trim(), "42");
    }
}

#[tokio::test]
async fn a_service_is_found_by_name_and_answers_from_the_other_node() {
    let test = Fixture::new("ground-service").await;
    let (_guard, nodes) = test.both_nodes().await;
    test.apply(&toolbox_pod("server", &nodes[1], &[], "httpd -f -p 8080"))
        .unwrap();
    test.apply("{apiVersion: v1, kind: Service, metadata: {name: server}, spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}}").unwrap();
    for (name, node) in [("far", &nodes[0]), ("near", &nodes[1])] {
        test.start_pod(name, node, &[]);
        test.pod_ready(name).await;
        test.pod_ready("server").await;
        // kube-proxy learns of the endpoint a moment after the pod is ready.
        let probe = "for i in 1 2 3 4 5 6 7 8 9 10; do carafe-e2e probe server:80 && exit; sleep 1; done; exit 1";
        test.sh(name, probe).unwrap();
    }
}

#[tokio::test]
async fn pods_reach_the_back_ends() {
    let test = Fixture::new("ground-backends").await;
    let backends = test.backends().await;
    let node = test.node().await;
    test.start_pod("client", &node, &[]);
    test.pod_ready("client").await;
    for url in [&backends.redis, &backends.postgres, &backends.s3] {
        let authority = url
            .rsplit_once('@')
            .or_else(|| url.split_once("://"))
            .unwrap()
            .1;
        test.sh("client", &format!("carafe-e2e probe {authority}"))
            .unwrap();
    }
}

#[tokio::test]
async fn a_restricted_namespace_refuses_a_privileged_pod() {
    let test = Fixture::new("ground-restricted").await;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    test.kubectl_global(&["label", "namespace", &test.namespace, label])
        .unwrap();
    let privileged = "{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: bad, image: none, securityContext: {privileged: true}}]}}";
    let refused = test.apply(privileged).unwrap_err().to_string();
    assert!(
        refused.contains("violates PodSecurity \"restricted:latest\""),
        "{refused}"
    );
    let node = test.node().await;
    test.start_pod("good", &node, &[]);
    test.pod_ready("good").await;
}

#[tokio::test]
async fn pods_outlive_a_restart_of_kubelet() {
    let test = Fixture::new("ground-kubelet").await;
    let Some(run) = cluster::local_run() else {
        println!("left out: the cluster is not on this machine, kubelet is not ours to restart");
        return;
    };
    let (_guard, name) = test.restartable_node().await;
    let mut nodes = local::nodes(&run).into_iter();
    let node = nodes.find(|node| node.name() == name).unwrap();
    test.start_pod("before", &node.name(), &[]);
    test.pod_ready("before").await;
    let started = test.sh("before", "stat -c %Y /proc/1").unwrap();
    node.restart_kubelet(&Tools::find().unwrap()).unwrap();
    test.start_pod("after", &node.name(), &[]);
    test.pod_ready("after").await;
    assert_eq!(test.sh("before", "stat -c %Y /proc/1").unwrap(), started);
}
