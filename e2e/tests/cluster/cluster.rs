//! The cluster that all tests of this process share, and the driver on it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use carafe_e2e::run::Run;
use carafe_e2e::{chart, shell};

/// The kubeconfig of the tests' cluster; the first caller starts it.
pub(crate) fn kubeconfig() -> PathBuf {
    match std::env::var_os("KUBECONFIG") {
        Some(file) => file.into(),
        None => own_cluster().kubeconfig(),
    }
}

/// The cluster on this machine, for tests that look at its nodes from outside;
/// none where the cluster is somebody else's.
pub(crate) fn local_run() -> Option<Run> {
    let file = kubeconfig();
    let id = file
        .parent()?
        .file_name()?
        .to_str()?
        .strip_prefix("carafe-")?
        .to_owned();
    Run::new(&id).ok().filter(|run| run.kubeconfig() == file)
}

fn own_cluster() -> &'static Run {
    static CLUSTER: OnceLock<Run> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let run = Run::fresh().unwrap();
        let program = env!("CARGO_BIN_EXE_carafe-e2e");
        let owner = std::process::id().to_string();
        let said = shell::run(
            Command::new(program)
                .args(["up", "--id", run.id(), "--owner", &owner])
                .env("RUST_LIB_BACKTRACE", "0"),
        );
        println!("{}", said.expect("the tests' cluster starts"));
        run
    })
}

/// Installs the chart of this checkout, once.
pub(crate) fn with_driver() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // Deleted data goes at once, so that tests see it go.
        let mut values = vec!["controller.reclaimInterval=2s".to_owned()];
        if let Some(run) = local_run() {
            values.push(chart::load_images(&run).expect("the images load"));
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        chart::install(&kubeconfig(), &values).expect("the chart installs");
    });
}
