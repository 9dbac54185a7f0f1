//! `carafe-e2e`: the cluster on this machine, and the demo.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use carafe_e2e::run::{DEV, Run};
use carafe_e2e::sandbox::{self, Process};
use carafe_e2e::{chart, cluster, demo, probe, sweep};
use clap::{Parser, Subcommand};

/// A real Kubernetes of two nodes on this machine, for tests and for trying.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a cluster and leave it running; nothing happens where it runs.
    Up {
        /// Names the cluster; several may run side by side.
        #[arg(long, default_value = DEV)]
        id: String,
        /// Remove the cluster when this process ends.
        #[arg(long)]
        owner: Option<i32>,
    },
    /// Remove a cluster: processes, mounts, network, control groups, files.
    Down {
        /// See `up`.
        #[arg(long, default_value = DEV)]
        id: String,
    },
    /// Build the images of this checkout and bring them to a cluster's nodes.
    Load {
        /// See `up`.
        #[arg(long, default_value = DEV)]
        id: String,
    },
    /// Remove the clusters of test runs that died.
    Sweep,
    /// Show a claim that two pods on two nodes share, on a cluster made for it.
    Demo,
    /// Resolve a name, connect, and print the peer's address (for test pods).
    #[command(hide = true)]
    Probe { address: String },
    #[command(hide = true)]
    SandboxStart { spec: PathBuf },
    #[command(hide = true)]
    SandboxInit { spec: PathBuf },
    #[command(hide = true)]
    Reap {
        id: String,
        #[arg(long)]
        owner: i32,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Up { id, owner } => up(&Run::new(&id)?, owner),
        Verb::Down { id } => cluster::down(&Run::new(&id)?),
        Verb::Load { id } => {
            let value = chart::load_images(&Run::new(&id)?)?;
            println!("install it with: helm upgrade --install --set {value} …");
            Ok(())
        }
        Verb::Sweep => sweep::sweep(),
        Verb::Demo => demo::run(),
        Verb::Probe { address } => probe::run(&address),
        Verb::SandboxStart { spec } => sandbox::start_init(&spec),
        Verb::SandboxInit { spec } => sandbox::run_init(&spec),
        Verb::Reap { id, owner } => sweep::reap(&Run::new(&id)?, process(owner)?),
    }
}

fn up(run: &Run, owner: Option<i32>) -> Result<()> {
    sweep::sweep()?;
    let owner = owner.map(process).transpose()?;
    if let Some(owner) = owner {
        sweep::start_reaper(run, owner)?;
    }
    cluster::up(run, owner)?;
    println!("export KUBECONFIG={}", run.kubeconfig().display());
    Ok(())
}

fn process(pid: i32) -> Result<Process> {
    Process::find(pid).with_context(|| format!("the owner, process {pid}, does not run"))
}
