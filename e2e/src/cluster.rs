//! The whole cluster of a run: up, down, and whether it is up.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::certs::Pki;
use crate::node::Node;
use crate::run::{NODES, Run};
use crate::sandbox::{Process, Sandbox};
use crate::tools::Tools;
use crate::{addons, backends, cgroup, control_plane, image, network, shell};

/// Starts the run's cluster, or finds that it is up. What a broken or half made
/// one left is removed first. With an owner, the cluster is stale once that
/// process has ended.
pub fn up(run: &Run, owner: Option<Process>) -> Result<()> {
    let tools = Tools::find()?;
    if is_up(run, &tools) {
        println!("up: the cluster {} runs already", run.id());
        return Ok(());
    }
    down(run)?;
    let made = create(run, owner, &tools);
    if made.is_err() && std::env::var_os("CARAFE_KEEP").is_none() {
        down(run)?;
    }
    made
}

/// Whether every part lives and the API server answers.
fn is_up(run: &Run, tools: &Tools) -> bool {
    run.path("complete").exists()
        && sandbox_dirs(run)
            .iter()
            .all(|dir| matches!(Sandbox::open(dir), Ok(Some(_))))
        && control_plane::kubectl(
            run,
            tools,
            &["get", "--raw", "/readyz", "--request-timeout=5s"],
        )
        .is_ok()
}

fn sandbox_dirs(run: &Run) -> Vec<std::path::PathBuf> {
    let nodes = (1..=NODES).map(|number| Node::new(run, number).dir());
    nodes.chain([run.path("control")]).collect()
}

/// The run's nodes.
pub fn nodes(run: &Run) -> Vec<Node> {
    (1..=NODES).map(|number| Node::new(run, number)).collect()
}

fn create(run: &Run, owner: Option<Process>, tools: &Tools) -> Result<()> {
    let clock = Clock::start();
    if !rustix::process::getuid().is_root() {
        bail!("a cluster needs root: namespaces, mounts and a bridge");
    }
    fs::create_dir_all(run.dir())?;
    if let Some(owner) = owner {
        fs::write(run.path("owner.json"), serde_json::to_vec(&owner)?)?;
    }
    Pki::create(run)?;
    network::create_bridge(run)?;
    let control = control_plane::create_sandbox(run)?;
    control_plane::start(run, &control, tools)?;
    let nodes = nodes(run);
    each(&nodes, Node::start_runtime)?;
    image::load(run, &[image::pause(run)?])?;
    control_plane::wait_ready(run, &control, tools)?;
    clock.say("control plane ready");
    each(&nodes, |node| node.start_kubelet(tools))?;
    wait_for_nodes(run, tools, &nodes)?;
    clock.say("both nodes Ready");
    let backends = backends::start(run, &control, tools)?;
    clock.say("Redis, PostgreSQL and S3 answer");
    image::load(run, &image::addons(tools)?)?;
    addons::apply(run, tools, &backends)?;
    image::load(run, &[image::toolbox()?])?;
    addons::wait_ready(run, tools)?;
    clock.say("DNS and snapshot controller run");
    fs::write(run.path("complete"), "")?;
    Ok(())
}

fn each(nodes: &[Node], act: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    let act = &act;
    std::thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(move || act(node)))
            .collect();
        threads.into_iter().try_for_each(shell::joined)
    })
}

fn wait_for_nodes(run: &Run, tools: &Tools, nodes: &[Node]) -> Result<()> {
    let mut args = vec![
        "wait".to_owned(),
        "--for=condition=Ready".into(),
        "--timeout=10s".into(),
    ];
    args.extend(nodes.iter().map(|node| format!("node/{}", node.name())));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let waited = shell::wait_until("nodes Ready", Duration::from_mins(2), || {
        control_plane::kubectl(run, tools, &args).map(drop)
    });
    waited.with_context(|| {
        let logs = nodes
            .iter()
            .map(|node| shell::tail_of_file(&node.dir().join("log/kubelet"), 15));
        logs.collect::<Vec<_>>().join("\n")
    })
}

/// Removes everything that the run has on this machine. Does nothing where
/// nothing is left, and goes on where an earlier attempt stopped.
pub fn down(run: &Run) -> Result<()> {
    if !run.dir().exists() {
        return Ok(());
    }
    for dir in sandbox_dirs(run) {
        if let Some(sandbox) = Sandbox::open(&dir)? {
            sandbox.init().end()?;
        }
    }
    network::remove(run)?;
    cgroup::remove(run)?;
    fs::remove_dir_all(run.dir()).with_context(|| format!("cannot remove {}", run.dir().display()))
}

/// Prints how long each part took.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn say(&self, what: &str) {
        println!("up: {what} after {:.1} s", self.0.elapsed().as_secs_f32());
    }
}
