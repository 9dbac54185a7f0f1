//! A namespace for one test, and what tests do in it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use carafe_e2e::{chart, shell, tools::Tools};
use futures_util::future::Either;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, ListParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Client, Config};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cluster;

/// Label of the cluster's own objects that a test made: the test's namespace.
pub(crate) const TEST: &str = "carafe.io/test";

/// How long a test waits for what takes seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Kubelet fails pods that it was starting when it restarts.
static SECOND_NODE: RwLock<()> = RwLock::const_new(());

/// One test's namespace; it goes when the test ends, and says what happened in
/// it when the test fails.
pub(crate) struct Fixture {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
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

    /// Waits for a warning about the object whose message holds all the `words` (in
    /// lower case), and
    /// returns the message.
    pub(crate) async fn event(&self, object: &str, words: &[&str]) -> String {
        let of_object =
            ListParams::default().fields(&format!("type=Warning,involvedObject.name={object}"));
        let found = std::sync::Mutex::new(String::new());
        eventually("an event", || async {
            let events = self.api::<Event>().list(&of_object).await;
            let events = events.map_err(|error| error.to_string())?;
            let messages: Vec<_> = events
                .items
                .into_iter()
                .filter_map(|event| event.message)
                .collect();
            let said = messages
                .iter()
                .find(|said| words.iter().all(|word| said.to_lowercase().contains(word)));
            let said =
                said.ok_or_else(|| format!("{object}: no event with {words:?} in {messages:#?}"))?;
            found.lock().unwrap().clone_from(said);
            Ok(())
        })
        .await;
        found.into_inner().unwrap()
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

    /// The node that most tests use: its kubelet is never restarted.
    pub(crate) async fn node(&self) -> String {
        self.nodes().await.swap_remove(0)
    }

    /// Two nodes, for as long as the guard lives.
    pub(crate) async fn both_nodes(&self) -> (RwLockReadGuard<'static, ()>, [String; 2]) {
        let guard = SECOND_NODE.read().await;
        let mut nodes = self.nodes().await.into_iter();
        (guard, [(); 2].map(|()| nodes.next().unwrap()))
    }

    /// A node whose kubelet may be restarted, for as long as the guard lives.
    pub(crate) async fn restartable_node(&self) -> (RwLockWriteGuard<'static, ()>, String) {
        let guard = SECOND_NODE.write().await;
        (guard, self.nodes().await.swap_remove(1))
    }

    /// The names of the cluster's nodes, sorted; at least two.
    async fn nodes(&self) -> Vec<String> {
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
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
        self.remove_volumes();
        let mine = format!("{TEST}={}", self.namespace);
        for objects in [
            &["storageclass,pv", "--selector", &mine][..],
            &["namespace", &self.namespace],
        ] {
            let delete = ["delete", "--ignore-not-found", "--wait=false"];
            let _ = self.kubectl_global(&[&delete[..], objects].concat());
        }
    }
}

impl Fixture {
    /// What a person would look at first.
    fn show(&self) {
        for namespace in [&self.namespace, chart::NAMESPACE, chart::MOUNT_NAMESPACE] {
            let shown = self.kubectl_global(&["get", "pods,pvc,events", "--namespace", namespace]);
            println!("{}", shown.unwrap_or_else(|error| error.to_string()));
        }
        let selector = format!("carafe.io/namespace={}", self.namespace);
        for logs in [
            [chart::MOUNT_NAMESPACE, selector.as_str()],
            [chart::NAMESPACE, "app.kubernetes.io/instance=carafe"],
            [self.namespace.as_str(), "app"],
        ] {
            let shown = self.kubectl_global(&[
                "logs",
                "--namespace",
                logs[0],
                "--selector",
                logs[1],
                "--tail=40",
                "--prefix",
                "--all-containers",
            ]);
            println!("{}", shown.unwrap_or_else(|error| error.to_string()));
        }
    }

    /// Before the namespace and its Secrets: without them no volume can be deleted.
    fn remove_volumes(&self) {
        let deleted = self.kubectl(&["delete", "pods,pvc", "--all", "--timeout=90s"]);
        // Those that were made by hand stay, and go by their label.
        let dynamic = format!("{TEST}!={}", self.namespace);
        let claimed_here = "jsonpath={.items[*].spec.claimRef.namespace}";
        let gone = shell::wait_until("end of the test's volumes", Duration::from_secs(60), || {
            let namespaces =
                self.kubectl_global(&["get", "pv", "--selector", &dynamic, "-o", claimed_here])?;
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

/// Asks again and again until the answer is good; panics with the last one.
pub(crate) async fn eventually<F>(what: &str, ask: impl Fn() -> F)
where
    F: Future<Output = Result<(), String>>,
{
    within(LIMIT, what, ask).await;
}

/// [`eventually`] with another limit.
pub(crate) async fn within<F>(limit: Duration, what: &str, ask: impl Fn() -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let deadline = tokio::time::Instant::now() + limit;
    while let Err(last) = ask().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: not after {} s; {last}",
            limit.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
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
            "restartPolicy": "Never",
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

/// The names of these objects.
pub(crate) fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(kube::ResourceExt::name_any).collect()
}
