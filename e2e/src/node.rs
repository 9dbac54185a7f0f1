//! One node: containerd, kubelet and kube-proxy in a sandbox of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::certs::Pki;
use crate::run::{Run, node_name};
use crate::sandbox::{Sandbox, Spec};
use crate::tools::Tools;
use crate::{cgroup, kubeconfig, network, shell};

/// What holds a pod's namespaces; containerd is told its name.
pub const PAUSE_IMAGE: &str = "carafe.io/pause:1";

/// What kubelet sets for the whole machine unless it finds it set: inside a node
/// it finds it set, and the machine stays as it was.
const KERNEL_TUNABLES: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// A node of a run.
#[derive(Debug, Clone)]
pub struct Node {
    run: Run,
    number: u8,
}

impl Node {
    /// The node of that number, counted from 1.
    pub fn new(run: &Run, number: u8) -> Self {
        Self {
            run: run.clone(),
            number,
        }
    }

    /// Its name in Kubernetes.
    pub fn name(&self) -> String {
        node_name(self.number)
    }

    /// Its directory.
    pub fn dir(&self) -> PathBuf {
        self.run.path(&self.name())
    }

    /// Its sandbox.
    pub fn sandbox(&self) -> Result<Sandbox> {
        Sandbox::open(&self.dir())?.with_context(|| format!("{} does not run", self.name()))
    }

    /// Starts everything that needs no API server: the sandbox, its network and
    /// containerd with the pause image.
    pub fn start_runtime(&self) -> Result<()> {
        cgroup::create(&self.run, &self.name())?;
        // Everything that node programs write to fixed places of the machine.
        let covers = ["/var/lib", "/var/log", "/run"].map(PathBuf::from).to_vec();
        let tunable =
            |(name, value): (&str, &str)| (Path::new("/proc/sys").join(name), format!("{value}\n"));
        let files = KERNEL_TUNABLES.into_iter().map(tunable).collect();
        let sandbox = Sandbox::start(&Spec {
            dir: self.dir(),
            covers,
            files,
            network: true,
        })?;
        network::connect(&self.run, self.number, &sandbox)?;
        self.write_containerd_config()?;
        self.write_cni_config()?;
        let config = self
            .dir()
            .join("containerd.toml")
            .to_string_lossy()
            .into_owned();
        sandbox.spawn("containerd", "containerd", &["--config".into(), config])?;
        self.wait_for_containerd(&sandbox)
    }

    fn wait_for_containerd(&self, sandbox: &Sandbox) -> Result<()> {
        shell::wait_until("containerd", Duration::from_mins(1), || {
            shell::run(self.ctr().arg("version")).map(drop)
        })
        .with_context(|| shell::tail_of_file(&sandbox.log("containerd"), 15))
    }

    /// Starts kubelet and kube-proxy.
    pub fn start_kubelet(&self, tools: &Tools) -> Result<()> {
        let sandbox = self.sandbox()?;
        self.write_kubelet_config()?;
        self.write_proxy_config()?;
        let proxy = tools.program("kube-proxy")?;
        let config = format!("--config={}", self.dir().join("proxy.json").display());
        sandbox.spawn("kube-proxy", &proxy.to_string_lossy(), &[config])?;
        self.spawn_kubelet(&sandbox, tools)
    }

    /// Ends kubelet and starts it again; pods go on running.
    pub fn restart_kubelet(&self, tools: &Tools) -> Result<()> {
        let sandbox = self.sandbox()?;
        sandbox.stop("kubelet", "TERM")?;
        self.spawn_kubelet(&sandbox, tools)
    }

    fn spawn_kubelet(&self, sandbox: &Sandbox, tools: &Tools) -> Result<()> {
        let kubelet = tools.program("kubelet")?;
        let args = [
            format!("--config={}", self.dir().join("kubelet.json").display()),
            format!(
                "--kubeconfig={}",
                self.dir().join("kubelet.kubeconfig").display()
            ),
            format!("--hostname-override={}", self.name()),
            format!("--node-ip={}", self.run.node_address(self.number)),
        ];
        sandbox.spawn("kubelet", &kubelet.to_string_lossy(), &args)
    }

    /// containerd's client for this node, in Kubernetes' namespace.
    pub fn ctr(&self) -> std::process::Command {
        let mut ctr = std::process::Command::new("ctr");
        ctr.arg("--address")
            .arg(self.dir().join("run/containerd/containerd.sock"));
        ctr.args(["--namespace", "k8s.io"]);
        ctr
    }

    /// The node's mounts, as the kernel lists them.
    pub fn mountinfo(&self) -> Result<String> {
        let init = self.sandbox()?.init().id();
        Ok(fs::read_to_string(format!("/proc/{init}/mountinfo"))?)
    }

    fn write_containerd_config(&self) -> Result<()> {
        // The CRI plugin may not lower oom_score_adj where CAP_SYS_RESOURCE lacks.
        let config = format!(
            r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#,
            pause = PAUSE_IMAGE,
            cni = self.dir().join("cni").display()
        );
        fs::write(self.dir().join("containerd.toml"), config)?;
        Ok(())
    }

    /// Pods are routed, not bridged: then replies between two pods of one node
    /// pass kube-proxy's rules on any kernel, with br_netfilter or without.
    fn write_cni_config(&self) -> Result<()> {
        let config = json!({
            "cniVersion": "0.4.0",
            "name": "carafe",
            "plugins": [
                {"type": "ptp", "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": self.run.pod_range(self.number)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni-addresses",
                }},
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        });
        fs::create_dir_all(self.dir().join("cni"))?;
        fs::write(
            self.dir().join("cni/10-carafe.conflist"),
            serde_json::to_vec_pretty(&config)?,
        )?;
        Ok(())
    }

    fn write_kubelet_config(&self) -> Result<()> {
        let pki = Pki::of(&self.run);
        let resolv = self.dir().join("resolv.conf");
        fs::write(&resolv, format!("nameserver {}\n", self.run.host_address()))?;
        kubeconfig::write(
            &self.run,
            &self.name(),
            &self.dir().join("kubelet.kubeconfig"),
        )?;
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": pki.authority()},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": pki.certificate(&self.name()),
            "tlsPrivateKeyFile": pki.key(&self.name()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}/{}", self.run.cgroup(), self.name()),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "clusterDNS": [self.run.dns_address()],
            "clusterDomain": "cluster.local",
            "resolvConf": resolv,
            "failSwapOn": false,
            "oomScoreAdj": 0,
            "serializeImagePulls": false,
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            // Two nodes share one disk, which is the machine owner's to fill.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "500Mi", "imagefs.available": "500Mi"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
        });
        fs::write(
            self.dir().join("kubelet.json"),
            serde_json::to_vec_pretty(&config)?,
        )?;
        Ok(())
    }

    fn write_proxy_config(&self) -> Result<()> {
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": self.run.path("pki/proxy.kubeconfig")},
            "hostnameOverride": self.name(),
            "mode": "iptables",
            "clusterCIDR": self.run.cluster_range(),
            // The table's size is the machine's, and read-only from here.
            "conntrack": {"maxPerCore": 0},
            "oomScoreAdj": 0,
        });
        fs::write(
            self.dir().join("proxy.json"),
            serde_json::to_vec_pretty(&config)?,
        )?;
        Ok(())
    }
}
