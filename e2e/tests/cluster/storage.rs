//! What a test makes volumes from: file systems, their Secrets, classes, claims and
//! PersistentVolumes.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use carafe_e2e::backends::{self, Backends};
use carafe_e2e::shell;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::Api;
use serde_json::{Value, json};

use crate::fixture::{Fixture, TEST};

/// The Secrets that a class or a PersistentVolume names, without their prefix.
const CLASS_SECRETS: [&str; 4] = [
    "provisioner",
    "controller-expand",
    "node-stage",
    "node-publish",
];

/// A file system as its Secret describes it.
#[derive(Clone)]
pub(crate) struct FileSystem {
    pub(crate) name: String,
    pub(crate) metaurl: String,
    pub(crate) storage: String,
    pub(crate) bucket: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) format_options: String,
    database: u32,
    backends: Backends,
}

impl FileSystem {
    /// One on Redis and S3 that is not formatted yet, in a database of its own.
    pub(crate) async fn new(test: &Fixture) -> Self {
        let backends = test.backends().await;
        let database = next_database();
        let system = Self {
            name: test.namespace.clone(),
            metaurl: format!("{}/{database}", backends.redis),
            storage: "s3".into(),
            bucket: format!("{}/{}", backends.s3, backends.bucket),
            access_key: backends.access_key.clone(),
            secret_key: backends.secret_key.clone(),
            format_options: String::new(),
            database,
            backends,
        };
        // An earlier run on the same cluster may have left its own.
        system.redis(&["FLUSHDB"]);
        system
    }

    /// Asks the metadata engine as the administrator does.
    pub(crate) fn redis(&self, words: &[&str]) -> String {
        let password = self.backends.password().unwrap();
        let (_, place) = self.backends.redis.rsplit_once('@').unwrap();
        let (host, port) = place.rsplit_once(':').unwrap();
        let mut cli = Command::new("redis-cli");
        // In the environment, so that it is on no command line.
        cli.env("REDISCLI_AUTH", password).args([
            "-h",
            host,
            "-p",
            port,
            "-n",
            &self.database.to_string(),
        ]);
        shell::run(cli.args(words)).unwrap()
    }

    /// The same file system, entered by another user of the database.
    pub(crate) fn as_user(&self, user: &str, password: &str) -> String {
        let (_, place) = self.metaurl.rsplit_once('@').unwrap();
        format!("redis://{user}:{password}@{place}")
    }

    /// What nobody may see: the words that stand in its Secret and open something.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let (login, _) = self.metaurl.rsplit_once('@').unwrap_or_default();
        let (_, in_url) = login.rsplit_once(':').unwrap_or_default();
        let root = self.backends.password().unwrap();
        let all = [in_url.to_owned(), root, self.secret_key.clone()];
        all.into_iter().filter(|one| !one.is_empty()).collect()
    }

    fn secret(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {
                "name": self.name, "metaurl": self.metaurl, "storage": self.storage, "bucket": self.bucket,
                "access-key": self.access_key, "secret-key": self.secret_key,
                "format-options": self.format_options,
            },
        })
    }
}

/// Each file system of this process has a Redis database to itself.
fn next_database() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A StorageClass; its Secret has its name.
pub(crate) struct Class<'a> {
    pub(crate) name: &'a str,
    pub(crate) parameters: &'a [(&'a str, &'a str)],
    pub(crate) mount_options: &'a [&'a str],
}

/// What `Fixture::claim` asks for unless a test says otherwise.
pub(crate) const SIZE: &str = "1Gi";

impl Fixture {
    /// Where the back ends are, from the cluster's Secret.
    pub(crate) async fn backends(&self) -> Backends {
        let api = Api::<Secret>::namespaced(self.client.clone(), backends::NAMESPACE);
        let secret = api
            .get(backends::SECRET)
            .await
            .expect("the Secret carafe-e2e/backends says where Redis and S3 are");
        let data = secret.data.expect("the Secret has data");
        let text = |key: &str| String::from_utf8(data.get(key).expect(key).0.clone()).unwrap();
        Backends {
            redis: text("redis"),
            postgres: text("postgres"),
            s3: text("s3"),
            bucket: text("bucket"),
            access_key: text("access_key"),
            secret_key: text("secret_key"),
        }
    }

    /// A new file system, with a Secret and a class that have the name `volume`.
    pub(crate) async fn storage_class(&self) -> FileSystem {
        let system = FileSystem::new(self).await;
        self.secret("volume", &system);
        self.class(&Class {
            name: "volume",
            parameters: &[],
            mount_options: &[],
        });
        system
    }

    /// The file system's Secret, made or changed.
    pub(crate) fn secret(&self, name: &str, system: &FileSystem) {
        self.apply(&system.secret(name).to_string()).unwrap();
    }

    /// A class whose Secret has the same name; other namespaces do not meet it.
    pub(crate) fn class(&self, class: &Class) {
        let mut parameters: serde_json::Map<String, Value> = class
            .parameters
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        for secret in CLASS_SECRETS {
            let key = |what| format!("csi.storage.k8s.io/{secret}-secret-{what}");
            parameters.insert(key("name"), json!(class.name));
            parameters.insert(key("namespace"), json!(self.namespace));
        }
        let yaml = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": self.class_name(class.name), "labels": {TEST: self.namespace}},
            "provisioner": "csi.carafe.io",
            "allowVolumeExpansion": true,
            "mountOptions": class.mount_options,
            "parameters": parameters,
        });
        self.apply(&yaml.to_string()).unwrap();
    }

    /// No event and no description in the test's namespace shows what opens the system.
    pub(crate) fn show_no_secret(&self, system: &FileSystem) {
        for arguments in [
            &["get", "events", "-o", "yaml"][..],
            &["describe", "pvc,pod"],
        ] {
            let shown = self.kubectl(arguments).unwrap();
            assert!(!shown.is_empty(), "{arguments:?} shows something");
            for secret in system.secrets() {
                assert!(!shown.contains(&secret), "{arguments:?} show a secret");
            }
        }
    }

    fn class_name(&self, class: &str) -> String {
        format!("{}-{class}", self.namespace)
    }

    /// Asks for a volume that many nodes may write to; does not wait for it.
    pub(crate) fn ask(&self, claim: &str, class: &str, size: &str, annotations: &Value) {
        let yaml = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "annotations": annotations},
            "spec": {
                "storageClassName": self.class_name(class),
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": size}},
            },
        });
        self.apply(&yaml.to_string()).unwrap();
    }

    /// A claim of the class `volume`, bound.
    pub(crate) async fn claim(&self, name: &str) {
        self.ask(name, "volume", SIZE, &json!({}));
        self.claim_bound(name).await;
    }

    /// Watches a claim until it is bound.
    pub(crate) async fn claim_bound(&self, name: &str) {
        let bound = |claim: Option<&PersistentVolumeClaim>| {
            claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
        };
        self.wait(name, "bound", bound).await;
    }

    /// Deletes a claim and watches until it and its volume are gone.
    pub(crate) async fn delete_claim(&self, name: &str) {
        let volume = self.volume_of(name).await;
        self.kubectl(&["delete", "pvc", name]).unwrap();
        self.kubectl_global(&["wait", "--for=delete", "--timeout=90s", "pv", &volume])
            .unwrap();
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

    /// A PersistentVolume made by hand, with a claim of the same name; the Secret is
    /// `volume`.
    pub(crate) async fn static_claim(&self, name: &str, attributes: &Value, options: &[&str]) {
        self.static_claim_as("ReadWriteMany", name, attributes, options)
            .await;
    }

    /// The same, with another access mode.
    pub(crate) async fn static_claim_as(
        &self,
        mode: &str,
        name: &str,
        attributes: &Value,
        options: &[&str],
    ) {
        let volume = format!("{}-{name}", self.namespace);
        let secret = json!({"name": "volume", "namespace": self.namespace});
        let yaml = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": volume, "labels": {TEST: self.namespace}},
            "spec": {
                "capacity": {"storage": SIZE},
                "accessModes": [mode],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "mountOptions": options,
                "claimRef": {"namespace": self.namespace, "name": name},
                "csi": {
                    "driver": "csi.carafe.io",
                    "volumeHandle": volume,
                    "volumeAttributes": attributes,
                    "nodeStageSecretRef": secret,
                    "nodePublishSecretRef": secret,
                },
            },
        });
        self.apply(&yaml.to_string()).unwrap();
        let yaml = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {
                "storageClassName": "", "volumeName": volume,
                "accessModes": [mode],
                "resources": {"requests": {"storage": SIZE}},
            },
        });
        self.apply(&yaml.to_string()).unwrap();
        self.claim_bound(name).await;
    }
}
