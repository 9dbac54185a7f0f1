//! What the plugin is told when it starts: its command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Carafe's CSI plugin.
#[derive(Debug, Parser)]
#[command(name = "carafe-csi-driver", version)]
pub struct Cli {
    /// What runs everywhere.
    #[command(flatten)]
    pub common: Common,
    /// Which part of the plugin this is.
    #[command(subcommand)]
    pub role: Role,
}

/// What both roles need.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The driver's name, as CSIDriver and StorageClasses spell it.
    #[arg(
        long,
        env = "CARAFE_DRIVER_NAME",
        default_value = "csi.carafe.io",
        global = true
    )]
    pub driver_name: String,
    /// The socket that the CSI services listen on.
    #[arg(long, env = "CSI_ENDPOINT", default_value = "/csi/csi.sock", value_parser = socket_path, global = true)]
    pub endpoint: PathBuf,
    /// Where `/healthz` and `/readyz` are answered; nowhere if it is not given.
    #[arg(long, env = "CARAFE_HEALTH_ADDRESS", global = true)]
    pub health_address: Option<SocketAddr>,
}

/// The part of the plugin.
#[derive(Clone, Debug, Subcommand)]
pub enum Role {
    /// Makes, grows and deletes volumes; one for the cluster.
    Controller(ControllerArgs),
    /// Mounts volumes; one on each node.
    Node(Box<NodeArgs>),
}

/// The controller's settings.
#[derive(Clone, Debug, Args)]
pub struct ControllerArgs {
    /// The namespace of the Lease that elects who cleans up.
    #[arg(long, env = "CARAFE_NAMESPACE", default_value = "carafe")]
    pub namespace: String,
    /// This pod's name: its identity in the election.
    #[arg(long, env = "CARAFE_POD_NAME", default_value = "carafe-controller")]
    pub pod_name: String,
    /// How long engine and store may take to answer.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// How often deleted volumes' data is looked for; 0s turns it off.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub reclaim_interval: Duration,
}

/// The node plugin's settings.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// The node's name.
    #[arg(long, env = "CARAFE_NODE_NAME")]
    pub node_name: String,
    /// Kubelet's directory, at the same path as on the node.
    #[arg(long, env = "CARAFE_KUBELET_DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_dir: PathBuf,
    /// The CSI socket's path as kubelet sees it; by default below its directory.
    #[arg(long, env = "CARAFE_KUBELET_ENDPOINT")]
    pub kubelet_endpoint: Option<PathBuf>,
    /// How long one stage may take before kubelet is told to ask again.
    #[arg(long, default_value = "90s", value_parser = duration)]
    pub stage_timeout: Duration,
    /// How long a last write-back may take before kubelet is told to ask again.
    #[arg(long, default_value = "90s", value_parser = duration)]
    pub release_timeout: Duration,
    /// Cache directories of the node that volumes may use; the first is the default.
    #[arg(long = "cache-dir", default_value = "/var/lib/carafe/cache")]
    pub cache_dirs: Vec<PathBuf>,
    /// Keep a volume's cache when the last pod on the node has gone.
    #[arg(long)]
    pub keep_cache: bool,
    /// What mount pods look like.
    #[command(flatten)]
    pub mount_pod: MountPodArgs,
}

/// What mount pods look like.
#[derive(Clone, Debug, Args)]
pub struct MountPodArgs {
    /// Their namespace, which enforces Pod Security "restricted".
    #[arg(
        long = "mount-namespace",
        env = "CARAFE_MOUNT_NAMESPACE",
        default_value = "carafe-system"
    )]
    pub namespace: String,
    /// Their image.
    #[arg(long = "mount-image", env = "CARAFE_MOUNT_IMAGE")]
    pub image: String,
    /// When their image is pulled.
    #[arg(long = "mount-image-pull-policy", default_value = "IfNotPresent")]
    pub image_pull_policy: String,
    /// Names of pull secrets in their namespace.
    #[arg(long = "mount-image-pull-secret")]
    pub image_pull_secrets: Vec<String>,
    /// Their priority class; none if empty.
    #[arg(long = "mount-priority-class", default_value = "")]
    pub priority_class: String,
    /// CPU that each asks for.
    #[arg(long = "mount-cpu-request", default_value = "100m")]
    pub cpu_request: String,
    /// Memory that each asks for.
    #[arg(long = "mount-memory-request", default_value = "256Mi")]
    pub memory_request: String,
    /// CPU that each may use; no limit if empty.
    #[arg(long = "mount-cpu-limit", default_value = "")]
    pub cpu_limit: String,
    /// Memory that each may use; no limit if empty.
    #[arg(long = "mount-memory-limit", default_value = "2Gi")]
    pub memory_limit: String,
    /// How verbose their logs are.
    #[arg(long = "mount-log", default_value = "info")]
    pub log: String,
    /// Threads that read requests from the kernel, unless a volume's options say it.
    #[arg(long = "mount-io-threads", default_value_t = 4)]
    pub io_threads: u32,
}

/// A socket's path, also as `unix:///…`.
fn socket_path(text: &str) -> Result<PathBuf, String> {
    let path = text
        .strip_prefix("unix://")
        .or_else(|| text.strip_prefix("unix:"))
        .unwrap_or(text);
    if path.starts_with('/') {
        Ok(path.into())
    } else {
        Err("expected an absolute path, or unix:///path".into())
    }
}

/// A time as `90s`, `500ms` or `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let parsed = units.iter().find_map(|(unit, millis)| {
        text.strip_suffix(unit)?
            .parse::<u64>()
            .ok()?
            .checked_mul(*millis)
    });
    parsed
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a time such as 90s, 500ms or 5m".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_starts_with_little() {
        let cli = Cli::try_parse_from([
            "carafe-csi-driver",
            "node",
            "--node-name=n1",
            "--mount-image=carafe:dev",
            "--endpoint=unix:///csi/x.sock",
        ])
        .unwrap();
        assert_eq!(cli.common.endpoint, PathBuf::from("/csi/x.sock"));
        let Role::Node(node) = cli.role else {
            panic!("the role is node")
        };
        assert_eq!(node.stage_timeout, Duration::from_secs(90));
    }

    #[test]
    fn a_time_needs_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("5").is_err());
    }
}
