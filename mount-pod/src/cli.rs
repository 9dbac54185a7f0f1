//! The command line: one file a command.

mod clone;
mod compact;
mod config;
mod format;
mod fsck;
mod gc;
mod info;
mod mount;
mod quota;
mod restore;
mod rmr;
mod status;
mod summary;
mod supervise;
mod table;
mod umount;
mod version;
mod volume;
mod work;

use std::{future::Future, io::IsTerminal};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// POSIX file systems on object storage, byte-compatible with JuiceFS
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// Log more: debug
    #[arg(long, short, global = true, env = "CARAFE_VERBOSE")]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Format(format::FormatArgs),
    Mount(Box<mount::MountArgs>),
    Umount(umount::UmountArgs),
    Status(status::StatusArgs),
    Config(Box<config::ConfigArgs>),
    Quota(quota::QuotaArgs),
    Info(info::InfoArgs),
    Summary(summary::SummaryArgs),
    Rmr(rmr::RmrArgs),
    Clone(clone::CloneArgs),
    Restore(restore::RestoreArgs),
    Compact(compact::CompactArgs),
    Gc(gc::GcArgs),
    Fsck(fsck::FsckArgs),
    Version(version::VersionArgs),
    Supervise(supervise::SuperviseArgs),
    Worker(work::WorkArgs),
}

impl Cli {
    /// Logs go to standard error; `RUST_LOG` overrides the level.
    pub(crate) fn start_logging(&self) {
        let level = if self.verbose { "debug" } else { "info" };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
    }

    /// Runs the command to its end.
    pub(crate) fn run(self) -> Result<(), Failure> {
        install_tls()?;
        match self.command {
            Command::Format(args) => small_runtime(args.run()),
            Command::Mount(args) => args.run(),
            Command::Umount(args) => args.run(),
            Command::Status(args) => small_runtime(args.run()),
            Command::Config(args) => small_runtime(args.run()),
            Command::Quota(args) => small_runtime(args.run()),
            Command::Info(args) => small_runtime(args.run()),
            Command::Summary(args) => small_runtime(args.run()),
            Command::Rmr(args) => small_runtime(args.run()),
            Command::Clone(args) => small_runtime(args.run()),
            Command::Restore(args) => small_runtime(args.run()),
            Command::Compact(args) => small_runtime(args.run()),
            Command::Gc(args) => small_runtime(args.run()),
            Command::Fsck(args) => small_runtime(args.run()),
            Command::Version(args) => {
                args.run();
                Ok(())
            }
            Command::Supervise(args) => small_runtime(args.run()),
            Command::Worker(args) => args.run(),
        }
    }
}

/// One thread: for commands and supervisors, which have no data path.
pub(crate) fn small_runtime(
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(Failure::system("start a runtime"))?;
    let done = runtime.block_on(work);
    // A thread that waits for the keeper for ever must not keep the process.
    runtime.shutdown_background();
    done
}

/// This machine's name, or the pod's.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn install_tls() -> Result<(), Failure> {
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    installed.map_err(|_| {
        Failure::Usage("another TLS provider is installed: a defect of this build".into())
    })
}
