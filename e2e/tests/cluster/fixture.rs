//! A namespace for one test, and what tests do in it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use carafe_e2e::backends::{self, Backends};
use carafe_e2e::{chart, shell, tools::Tools};
use futures_util::future::Either;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Secret};
use kube::api::{Api, ListParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Client, Config};

use crate::cluster;

/// How long a test waits for what takes seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// One test's namespace; it goes when the test ends, and says what happened in
/// it when the test fails.
pub(crate) struct Fixture {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    has_volumes: AtomicBool,
}

impl Fixture {
    /// A namespace named after the test.
    pub(crate) async fn new(name: &str) -> Self {
        let fixture = Self::in_namespace(&format!("{name}-{}", std::process::id())).await;
        fixture
            .kubectl_global(&["create", "namespace", &fixture.namespace])
            .unwrap();
        fixture
    }

    async fn in_namespace(namespace: &str) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = tokio::task::spawn_blocking(cluster::kubeconfig)
            .await
            .unwrap();
        let parsed = kube::config::Kubeconfig::read_from(&kubeconfig).unwrap();
        let config =
            Config::from_custom_kubeconfig(parsed, &kube::config::KubeConfigOptions::default())
                .await
                .unwrap();
        Self {
            client: Client::try_from(config).unwrap(),
            namespace: namespace.to_owned(),
            kubectl: Tools::find().unwrap().program("kubectl").unwrap(),
            kubeconfig,
            has_volumes: AtomicBool::new(false),
        }
    }

    /// Installs the driver if no test has yet.
    pub(crate) async fn with_driver(self) -> Self {
        tokio::task::spawn_blocking(cluster::with_driver)
            .await
            .unwrap();
        self
    }

    /// The objects of that kind in the test's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// kubectl without a namespace.
    pub(crate) fn kubectl_global(&self, args: &[&str]) -> anyhow::Result<String> {
        shell::run(self.kubectl_command().args(args))
    }

    /// kubectl in the test's namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        shell::run(
            self.kubectl_command()
                .args(["--namespace", &self.namespace])
                .args(args),
        )
    }

    /// Creates or changes what the YAML says.
    pub(crate) fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        let mut command = self.kubectl_command();
        command.args([
            "--namespace",
            &self.namespace,
            "apply",
            "--server-side",
            "-f",
            "-",
        ]);
        shell::run_with_input(&mut command, yaml).map(drop)
    }

    /// Watches an object until the condition holds; panics with what it was.
    pub(crate) async fn wait<K>(&self, name: &str, what: &str, condition: impl Condition<K>)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + 'static,
        K::DynamicType: Default,
    {
        let held = std::pin::pin!(await_condition(self.api::<K>(), name, condition));
        let limit = std::pin::pin!(tokio::time::sleep(LIMIT));
        match futures_util::future::select(held, limit).await {
            Either::Left((result, _)) => drop(result.unwrap()),
            Either::Right(_) => panic!("{name} is not {what} after {} s", LIMIT.as_secs()),
        }
    }

    /// Watches a pod until it is ready.
    pub(crate) async fn pod_ready(&self, name: &str) {
        self.wait::<Pod>(name, "ready", |pod: Option<&Pod>| pod.is_some_and(is_ready))
            .await;
    }

    /// Watches a claim until it is bound.
    pub(crate) async fn claim_bound(&self, name: &str) {
        let bound = |claim: Option<&PersistentVolumeClaim>| {
            claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
        };
        self.wait(name, "bound", bound).await;
    }

    /// Deletes a pod and watches until it is gone.
    pub(crate) async fn delete_pod(&self, name: &str) {
        self.kubectl(&["delete", "pod", name, "--wait=false"])
            .unwrap();
        self.wait::<Pod>(name, "gone", |pod: Option<&Pod>| pod.is_none())
            .await;
    }

    /// Runs a shell script in a pod and returns what it printed.
    pub(crate) fn sh(&self, pod: &str, script: &str) -> anyhow::Result<String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script])
    }

    /// Starts a pod of the toolbox on a node; `volumes` names the claims, each
    /// mounted at `/<claim>`.
    pub(crate) fn start_pod(&self, name: &str, node: &str, claims: &[&str]) {
        self.apply(&toolbox_pod(name, node, claims, "sleep 100000"))
            .unwrap();
    }

    /// The names of the cluster's nodes, sorted; at least two.
    pub(crate) async fn nodes(&self) -> Vec<String> {
        let nodes = Api::<Node>::all(self.client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        let mut names: Vec<String> = nodes.iter().map(kube::ResourceExt::name_any).collect();
        names.sort();
        assert!(
            names.len() >= 2,
            "these tests need two nodes, and find {names:?}"
        );
        names
    }

    /// The pods of another namespace that carry the label.
    pub(crate) async fn pods_labelled(&self, namespace: &str, selector: &str) -> Vec<Pod> {
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        api.list(&ListParams::default().labels(selector))
            .await
            .unwrap()
            .items
    }

    /// Where the back ends are, from the cluster's Secret.
    pub(crate) async fn backends(&self) -> Backends {
        let api = Api::<Secret>::namespaced(self.client.clone(), backends::NAMESPACE);
        let secret = api
            .get(backends::SECRET)
            .await
            .expect("the Secret carafe-e2e/backends says where Redis and S3 are");
        let text = |key: &str| {
            let data = secret
                .data
                .as_ref()
                .and_then(|data| data.get(key))
                .expect(key);
            String::from_utf8(data.0.clone()).unwrap()
        };
        Backends {
            redis: text("redis"),
            postgres: text("postgres"),
            s3: text("s3"),
            bucket: text("bucket"),
            access_key: text("access_key"),
            secret_key: text("secret_key"),
        }
    }

    /// A Secret, `volume`, for a new file system on Redis and S3, and a
    /// StorageClass of the namespace's name that uses it.
    pub(crate) async fn storage_class(&self) {
        self.has_volumes.store(true, Ordering::Relaxed);
        let backends = self.backends().await;
        let yaml = include_str!("storage-class.yaml")
            .replace("{namespace}", &self.namespace)
            .replace(
                "{metaurl}",
                &format!("{}/{}", backends.redis, next_database()),
            )
            .replace("{bucket}", &format!("{}/{}", backends.s3, backends.bucket))
            .replace("{access-key}", &backends.access_key)
            .replace("{secret-key}", &backends.secret_key);
        self.apply(&yaml).unwrap();
    }

    /// A claim of the namespace's class that many nodes may write to.
    pub(crate) async fn shared_claim(&self, name: &str) {
        let yaml = include_str!("claim.yaml")
            .replace("{name}", name)
            .replace("{namespace}", &self.namespace);
        self.apply(&yaml).unwrap();
        self.claim_bound(name).await;
    }

    /// The volume that a claim is bound to.
    pub(crate) async fn volume_of(&self, claim: &str) -> String {
        let claim = self
            .api::<PersistentVolumeClaim>()
            .get(claim)
            .await
            .unwrap();
        claim
            .spec
            .and_then(|spec| spec.volume_name)
            .expect("the claim is bound")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for namespace in [&self.namespace, chart::NAMESPACE, chart::MOUNT_NAMESPACE] {
                let shown =
                    self.kubectl_global(&["get", "pods,pvc,events", "--namespace", namespace]);
                println!("{}", shown.unwrap_or_else(|error| error.to_string()));
            }
        }
        self.remove_volumes();
        for object in [
            ["namespace", &self.namespace],
            ["storageclass", &self.namespace],
        ] {
            let _ = self.kubectl_global(
                &[
                    &["delete", "--ignore-not-found", "--wait=false"][..],
                    &object[..],
                ]
                .concat(),
            );
        }
    }
}

impl Fixture {
    /// Before the namespace and its Secret: without it no volume can be deleted.
    fn remove_volumes(&self) {
        if !self.has_volumes.load(Ordering::Relaxed) {
            return;
        }
        let deleted = self.kubectl(&["delete", "pods,pvc", "--all", "--timeout=60s"]);
        let claimed_here = "jsonpath={.items[*].spec.claimRef.namespace}";
        let gone = shell::wait_until("end of the test's volumes", Duration::from_secs(30), || {
            let namespaces = self.kubectl_global(&["get", "pv", "-o", claimed_here])?;
            let left = namespaces
                .split_whitespace()
                .any(|one| one == self.namespace);
            anyhow::ensure!(!left, "PersistentVolumes are left");
            Ok(())
        });
        if let Err(error) = deleted.map(drop).and(gone) {
            println!("{}: {error:#}", self.namespace);
        }
    }
}

/// Whether the pod's Ready condition is true.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one.type_ == "Ready" && one.status == "True")
    })
}

/// The YAML of a restricted pod that runs a shell script.
pub(crate) fn toolbox_pod(name: &str, node: &str, claims: &[&str], script: &str) -> String {
    let mounts: Vec<_> = claims
        .iter()
        .map(|claim| serde_json::json!({"name": claim, "mountPath": format!("/{claim}")}))
        .collect();
    let volumes: Vec<_> = claims.iter().map(|claim| serde_json::json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}})).collect();
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "toolbox",
                "image": carafe_e2e::image::TOOLBOX,
                "command": ["sh", "-c", script],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    })
    .to_string()
}

/// Each file system of this process has a Redis database to itself.
fn next_database() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The names of these objects.
pub(crate) fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(kube::ResourceExt::name_any).collect()
}
