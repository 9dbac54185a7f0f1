//! `carafe-csi-driver`: parses, logs, runs.

use std::{process::ExitCode, time::Duration};

use carafe_csi_driver::{config::Cli, run};
use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    // Two providers could be linked: choose one before the first connection.
    let chosen = rustls::crypto::aws_lc_rs::default_provider().install_default();
    chosen.map_err(|_| anyhow::anyhow!("a TLS provider was chosen twice"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(run(cli));
    // A thread that hangs in the kernel must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}
