//! `carafe`: the file system client and its tools.
//!
//! `carafe mount` is a **supervisor**: it opens /dev/fuse, mounts, and starts a
//! **worker** that serves the mount. In a pod, `carafe supervise` gets the same
//! things from the node plugin's keeper instead.

mod cli;
mod compactor;
mod engine;
mod failure;
mod supervisor;
mod worker;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A page of 2 MiB for each thread's few small values would be most of an idle
    // mount's memory. A kernel without the switch has no such pages.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let cli = cli::Cli::parse();
    cli.start_logging();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("carafe: {failure}");
            failure.exit_code()
        }
    }
}
