//! What belongs to one run: its id, and what derives from it.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::shell;

/// How many nodes a cluster has.
pub const NODES: u8 = 2;

/// The id that `make up` uses.
pub const DEV: &str = "dev";

/// Second octets that runs choose from; the first is `make up`'s own.
const FIRST_OCTET: u8 = 128;
const OCTETS: u32 = 120;

/// One cluster on this machine: names, addresses and directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    id: String,
}

impl Run {
    /// The run of that id: at most nine lowercase letters and digits, since
    /// network interfaces are named after it.
    pub fn new(id: &str) -> Result<Self> {
        let fits = (1..=9).contains(&id.len());
        if !fits
            || !id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            bail!("a run id is one to nine lowercase letters or digits, not {id:?}");
        }
        Ok(Self { id: id.to_owned() })
    }

    /// A run that meets none that exists, for a test process.
    pub fn fresh() -> Result<Self> {
        let pid = std::process::id();
        for attempt in 0..OCTETS {
            let run = Self::new(&format!("t{:x}{attempt:x}", pid & 0x00ff_ffff))?;
            if !run.dir().exists() && !run.addresses_are_in_use()? {
                return Ok(run);
            }
        }
        bail!("no free address range for another cluster; remove stale ones with `make sweep`")
    }

    /// Whether something on this machine has the run's addresses already.
    fn addresses_are_in_use(&self) -> Result<bool> {
        let range = format!("10.{}.0.0/16", self.host_address().octets()[1]);
        let routes = ["-4", "route", "show", "root", &range];
        let routes = shell::run(&mut shell::command("ip", routes))?;
        Ok(!routes.trim().is_empty())
    }

    /// The id itself.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Everything that the run writes lies below this directory.
    pub fn dir(&self) -> PathBuf {
        PathBuf::from(format!("/tmp/carafe-{}", self.id))
    }

    /// A file or directory of the run.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir().join(relative)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// Names a cgroup in every hierarchy.
    pub fn cgroup(&self) -> String {
        format!("carafe-{}", self.id)
    }

    /// The bridge between the nodes and the control plane.
    pub fn bridge(&self) -> String {
        format!("cf-{}", self.id)
    }

    /// The bridge's end of a node's cable.
    pub fn cable(&self, node: u8) -> String {
        format!("cf-{}-{node}", self.id)
    }

    fn octet(&self) -> u8 {
        if self.id == DEV {
            return FIRST_OCTET;
        }
        // FNV-1a: small, and the same on every machine.
        let hash = self.id.bytes().fold(0x811c_9dc5_u32, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        });
        let step = (hash % (OCTETS - 1)) as u8;
        FIRST_OCTET + 1 + step
    }

    /// The bridge's address: the control plane and the back ends listen on it.
    pub fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet(), 255, 1)
    }

    /// A loopback address of the run's own, for what pods must not reach.
    pub fn loopback(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 77, self.octet(), 1)
    }

    /// A node's address on the bridge; nodes count from 1.
    pub fn node_address(&self, node: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet(), 255, 10 + node)
    }

    /// The pods' range on a node.
    pub fn pod_range(&self, node: u8) -> String {
        format!("10.{}.{node}.0/24", self.octet())
    }

    /// All pods' range.
    pub fn cluster_range(&self) -> String {
        format!("10.{}.0.0/17", self.octet())
    }

    /// The Services' range.
    pub fn service_range(&self) -> String {
        format!("10.{}.128.0/18", self.octet())
    }

    /// The API server's Service.
    pub fn api_service_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet(), 128, 1)
    }

    /// The cluster DNS's Service.
    pub fn dns_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet(), 128, 10)
    }
}

/// A node's name in Kubernetes.
pub fn node_name(node: u8) -> String {
    format!("node{node}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernels_limits() {
        let run = Run::new("t12345678").unwrap();
        assert!(run.cable(NODES).len() <= 15, "IFNAMSIZ");
        assert!(
            run.path("node1/run/containerd/containerd.sock.ttrpc")
                .as_os_str()
                .len()
                < 108,
            "sun_path"
        );
    }

    #[test]
    fn ids_that_could_name_something_else_are_refused() {
        for id in ["", "Dev", "a/b", "..", "0123456789", "a b"] {
            assert!(Run::new(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn no_test_run_takes_the_addresses_of_make_up() {
        let dev = Run::new(DEV).unwrap();
        for n in 0..2000 {
            let other = Run::new(&format!("t{n}")).unwrap();
            assert_ne!(other.host_address(), dev.host_address());
            assert!(other.host_address().octets()[1] < 249);
        }
    }
}
