//! `carafe worker`: serves one mount for its supervisor.

use clap::Args;

use crate::{failure::Failure, worker};

/// Serve a mount for the supervisor on standard input (started by it)
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct WorkArgs {}

impl WorkArgs {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(crate) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .max_blocking_threads(64)
            .thread_name("carafe")
            .build()
            .map_err(Failure::system("start a runtime"))?;
        let served = runtime.block_on(worker::run());
        // A blocking call into a store that hangs must not keep the process.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        served
    }
}
