//! What a mount pod may do, what it can reach, and what of its secret can be seen.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use carafe_e2e::chart;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::fixture::{Fixture, eventually};
use crate::mount_pods::local_node;

/// A pod with a volume on the first node; answers the node and the volume's mount pod.
async fn mounted(test: &Fixture, claim: &str) -> (String, Pod) {
    test.claim(claim).await;
    let node = test.node().await;
    test.start_pod(claim, &node, &[claim]);
    test.pod_ready(claim).await;
    test.sh(
        claim,
        &format!("echo word > /{claim}/word && sync /{claim}/word"),
    )
    .unwrap();
    let pod = test.mount_pod(&test.volume_of(claim).await).await;
    (node, pod)
}

#[tokio::test]
async fn mount_pods_live_where_restricted_is_enforced_and_are_labelled() {
    let test = Fixture::new("isolation-restricted")
        .await
        .with_driver()
        .await;
    test.storage_class().await;
    let (node, pod) = mounted(&test, "data").await;
    let enforced = "jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}";
    let level = test
        .kubectl_global(&["get", "namespace", chart::MOUNT_NAMESPACE, "-o", enforced])
        .unwrap();
    assert_eq!(level, "restricted");
    let labels = pod.metadata.labels.unwrap();
    let label = |key: &str| labels.get(&format!("carafe.io/{key}")).map(String::as_str);
    assert_eq!(label("volume"), Some(test.volume_of("data").await.as_str()));
    assert_eq!(label("persistentvolumeclaim"), Some("data"));
    assert_eq!(label("namespace"), Some(test.namespace.as_str()));
    assert_eq!(label("node"), Some(node.as_str()));
    let spec = pod.spec.unwrap();
    assert_eq!(spec.automount_service_account_token, Some(false));
    let volumes = spec.volumes.unwrap_or_default();
    assert!(
        volumes.iter().all(|volume| volume.host_path.is_none()),
        "{volumes:?}"
    );
}

#[tokio::test]
async fn no_secret_is_seen_in_objects_logs_arguments_or_environments() {
    let test = Fixture::new("isolation-secret").await.with_driver().await;
    let system = test.storage_class().await;
    let (node, pod) = mounted(&test, "data").await;
    let password = test.backends().await.password().unwrap();
    let secrets = [system.secret_key.as_str(), password.as_str()];
    let clean = |what: &str, text: &str| {
        assert!(!text.is_empty(), "{what} says nothing");
        for secret in secrets {
            assert!(!text.contains(secret), "{what} shows a secret");
        }
    };
    let name = pod.metadata.name.clone().unwrap();
    for arguments in [
        &["describe", "pod", &name][..],
        &["get", "pod", &name, "-o", "yaml"],
        &["logs", &name],
        &["get", "events", "-o", "yaml"],
    ] {
        let in_namespace = [arguments, &["--namespace", chart::MOUNT_NAMESPACE]].concat();
        clean(
            &arguments.join(" "),
            &test.kubectl_global(&in_namespace).unwrap(),
        );
    }
    for part in ["carafe-node", "carafe-controller"] {
        eventually("the logs", || async {
            let logs = test.driver_logs(part).map_err(|error| error.to_string())?;
            clean(part, &logs);
            Ok(())
        })
        .await;
    }
    for arguments in [&["describe", "pvc"][..], &["describe", "pod"]] {
        clean(&arguments.join(" "), &test.kubectl(arguments).unwrap());
    }
    let volume = test.volume_of("data").await;
    clean(
        "the volume",
        &test
            .kubectl_global(&["get", "pv", &volume, "-o", "yaml"])
            .unwrap(),
    );
    if local_node(&node).is_some() {
        let processes = processes_of(&pod);
        assert!(
            processes.len() >= 2,
            "a supervisor and a worker: {processes:?}"
        );
        for process in processes {
            clean(
                "the arguments",
                &fs::read_to_string(process.join("cmdline")).unwrap(),
            );
            let environment = fs::read(process.join("environ")).unwrap();
            clean("the environment", &String::from_utf8_lossy(&environment));
        }
    }
}

#[tokio::test]
async fn a_process_in_a_mount_pod_reaches_neither_its_node_nor_another_mount() {
    let test = Fixture::new("isolation-escape").await.with_driver().await;
    test.storage_class().await;
    let (node, own) = mounted(&test, "own").await;
    let (_, other) = mounted(&test, "other").await;
    let Some(local) = local_node(&node) else {
        return;
    };
    let sockets: Vec<Vec<PathBuf>> = [&own, &other].map(sockets_of).into();
    assert_eq!(
        (sockets[0].len(), sockets[1].len()),
        (1, 1),
        "each sees its own socket only: {sockets:?}"
    );
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_ne!(inode(&sockets[0][0]), inode(&sockets[1][0]));

    let processes = processes_of(&own);
    let caches: Vec<PathBuf> = processes.iter().flat_map(cache_directories).collect();
    assert!(!caches.is_empty(), "the mount caches on its node's disk");
    let root = local.dir().join("var/lib/carafe/cache");
    let root = root.join(own.metadata.name.as_deref().unwrap());
    for cache in caches {
        // However far one climbs, the volume's own directory is the top.
        let top = cache.join("../../../../../../../../..");
        let inode = |path: &Path| {
            fs::metadata(path)
                .map(|meta| (meta.dev(), meta.ino()))
                .unwrap()
        };
        assert_eq!(
            inode(&top),
            inode(&root),
            "`..` of {} leads out",
            cache.display()
        );
    }
    for process in processes {
        let status = fs::read_to_string(process.join("status")).unwrap();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .trim()
                .to_owned()
        };
        assert_ne!(field("Uid:").split_whitespace().next(), Some("0"));
        for capabilities in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
            assert_eq!(
                u64::from_str_radix(&field(capabilities), 16),
                Ok(0),
                "{capabilities}"
            );
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("Seccomp:"), "2", "a filter");
    }
}

/// The API server decides as for the plugin of the node that the token names.
#[tokio::test]
async fn a_nodes_plugin_may_make_and_delete_its_own_nodes_mount_pods_only() {
    let test = Fixture::new("isolation-policy").await.with_driver().await;
    test.storage_class().await;
    let (node, pod) = mounted(&test, "data").await;
    let directory = tempfile::tempdir().unwrap();
    let another = directory.path().join("pod.json");
    fs::write(&another, another_like(&pod).to_string()).unwrap();
    let another = another.to_string_lossy();
    let name = pod.metadata.name.as_deref().unwrap();
    for action in [&["delete", "pod", name][..], &["create", "-f", &another]] {
        let dry = ["--namespace", chart::MOUNT_NAMESPACE, "--dry-run=server"];
        let from = |node: &str| test.as_node_plugin(node, &[action, &dry].concat());
        from(&node).expect("its own node's plugin may");
        let refused = from("another").unwrap_err().to_string();
        assert!(
            refused.contains("own node"),
            "says what is allowed: {refused}"
        );
    }
}

#[tokio::test]
async fn a_nodes_plugin_makes_no_pod_that_reads_a_secret_or_runs_another_program() {
    let test = Fixture::new("isolation-reads").await.with_driver().await;
    test.storage_class().await;
    let (node, pod) = mounted(&test, "data").await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pod.json");
    let name = path.to_string_lossy().into_owned();
    let create = ["--namespace", chart::MOUNT_NAMESPACE, "--dry-run=server"];
    let create = [&["create", "-f", &name], &create[..]].concat();
    let (reads, runs) = ("read no Secret", "the client of the chart's image");
    let spoil: [(&str, fn(&mut Value)); 5] = [
        (reads, |spec| {
            spec["volumes"] = json!([{"name": "keeper", "secret": {"secretName": "any"}}]);
        }),
        (reads, |spec| {
            spec["automountServiceAccountToken"] = json!(true)
        }),
        (reads, |spec| {
            spec["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "any"}}]);
        }),
        (runs, |spec| {
            spec["containers"][0]["image"] = json!("example.com/carafe:1")
        }),
        (runs, |spec| {
            spec["containers"][0]["command"] = json!(["/bin/sh"])
        }),
    ];
    for (expected, spoil) in spoil {
        let mut pod = another_like(&pod);
        spoil(&mut pod["spec"]);
        fs::write(&path, pod.to_string()).unwrap();
        let refused = test.as_node_plugin(&node, &create).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

/// The same pod by another name.
fn another_like(pod: &Pod) -> Value {
    let name = format!("{}-2", pod.metadata.name.as_deref().unwrap());
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": pod.metadata.labels},
        "spec": pod.spec,
    })
}

impl Fixture {
    /// kubectl with the rights of a node's plugin.
    fn as_node_plugin(&self, node: &str, args: &[&str]) -> anyhow::Result<String> {
        let config = self.kubectl_global(&["config", "view", "--raw", "-o", "json"])?;
        let mut config: Value = serde_json::from_str(&config)?;
        let user = &mut config["users"][0]["user"];
        user["as"] = json!("system:serviceaccount:carafe:carafe-node");
        user["as-groups"] = json!(["system:serviceaccounts", "system:authenticated"]);
        user["as-user-extra"] = json!({"authentication.kubernetes.io/node-name": [node]});
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(config.to_string().as_bytes())?;
        let file = file.path().to_string_lossy();
        // The later of two wins.
        self.kubectl_global(&[&["--kubeconfig", &file], args].concat())
    }
}

/// The pod's processes of ours, below this machine's /proc.
fn processes_of(pod: &Pod) -> Vec<PathBuf> {
    let uid = pod.metadata.uid.as_deref().unwrap();
    let of_pod = |process: &PathBuf| {
        let has = |file: &str, word: &str| {
            fs::read(process.join(file))
                .is_ok_and(|text| String::from_utf8_lossy(&text).contains(word))
        };
        has("cgroup", uid) && has("cmdline", "carafe")
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
        })
        .filter(of_pod)
        .collect()
}

/// All sockets in the pod's own view of the file system.
fn sockets_of(pod: &Pod) -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let root = processes_of(pod)[0].join("root");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            let is_kernels = directory == root
                && ["proc", "sys"].contains(&entry.file_name().to_string_lossy().as_ref());
            if kind.is_socket() {
                found.push(entry.path());
            } else if kind.is_dir() && !is_kernels {
                directories.push(entry.path());
            }
        }
    }
    found
}

/// The directories that a process holds open.
fn cache_directories(process: &PathBuf) -> Vec<PathBuf> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten();
    descriptors
        .flatten()
        .map(|descriptor| descriptor.path())
        .filter(|path| path.is_dir())
        .collect()
}
