//! `carafe supervise`: PID 1 of a mount pod.

use std::path::PathBuf;

use clap::Args;

use crate::{
    failure::Failure,
    supervisor::{Pod, supervise},
};

/// Serve what the node plugin's keeper hands over (runs in a mount pod)
#[derive(Args)]
pub(crate) struct SuperviseArgs {
    /// The directory of the keeper's socket
    #[arg(long, default_value = carafe_api::handover::SOCKET_DIR)]
    socket_dir: PathBuf,
}

impl SuperviseArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        // Kubernetes names a pod's host after the pod.
        let name = super::host_name();
        let (pod, held) = Pod::attach(self.socket_dir, name).await?;
        supervise(pod, held).await
    }
}
