//! The bridge between the nodes, and each node's end of it.
//!
//! Nothing is added to the machine's firewall: nodes and control plane talk over
//! the bridge, and kube-proxy's rules live in the nodes' own networks.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::run::{NODES, Run};
use crate::sandbox::Sandbox;
use crate::shell;

/// Makes the bridge, with the control plane's address on it.
pub fn create_bridge(run: &Run) -> Result<()> {
    let bridge = run.bridge();
    let batch = format!(
        "link add {bridge} type bridge\naddr add {}/24 dev {bridge}\nlink set {bridge} up\n",
        run.host_address()
    );
    ip_batch(&mut shell::command("ip", ["-batch", "-"]), &batch)
        .with_context(|| format!("cannot make the bridge {bridge}; this needs root, and 10.x addresses that no other interface has"))
}

/// Connects a node's network to the bridge.
pub fn connect(run: &Run, node: u8, sandbox: &Sandbox) -> Result<()> {
    let (bridge, cable, init) = (run.bridge(), run.cable(node), sandbox.init().id());
    let address = run.node_address(node);
    let outside = format!(
        "link add {cable} type veth peer name eth0 netns {init}\nlink set {cable} master {bridge} up\n\
         route add {} via {address}\n",
        run.pod_range(node)
    );
    let mut inside = format!(
        "link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {}\n",
        run.host_address()
    );
    for other in (1..=NODES).filter(|other| *other != node) {
        let _ = writeln!(
            inside,
            "route add {} via {}",
            run.pod_range(other),
            run.node_address(other)
        );
    }
    ip_batch(&mut shell::command("ip", ["-batch", "-"]), &outside)?;
    ip_batch(sandbox.command("ip").args(["-batch", "-"]), &inside)?;
    shell::run(
        sandbox
            .command("sh")
            .args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]),
    )?;
    Ok(())
}

fn ip_batch(ip: &mut std::process::Command, lines: &str) -> Result<()> {
    shell::run_with_input(ip, lines)?;
    Ok(())
}

/// Removes the bridge and what hangs on it; the nodes' ends go with the nodes.
pub fn remove(run: &Run) -> Result<()> {
    for name in (1..=NODES)
        .map(|node| run.cable(node))
        .chain([run.bridge()])
    {
        if std::path::Path::new("/sys/class/net").join(&name).exists() {
            shell::run(&mut shell::command("ip", ["link", "del", &name]))?;
        }
    }
    Ok(())
}
