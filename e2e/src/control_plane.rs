//! etcd, the API server, the controller manager and the scheduler.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::certs::Pki;
use crate::kubeconfig;
use crate::run::Run;
use crate::sandbox::{Sandbox, Spec};
use crate::shell;
use crate::tools::Tools;

/// Makes the sandbox of everything that is no node: the control plane and the
/// back ends. It has the machine's network and mounts.
pub fn create_sandbox(run: &Run) -> Result<Sandbox> {
    Sandbox::start(&Spec {
        dir: run.path("control"),
        covers: Vec::new(),
        files: Vec::new(),
        network: false,
    })
}

/// Starts the control plane; does not wait until it answers.
pub fn start(run: &Run, sandbox: &Sandbox, tools: &Tools) -> Result<()> {
    for name in ["controller-manager", "scheduler", "proxy"] {
        kubeconfig::write(run, name, &run.path(&format!("pki/{name}.kubeconfig")))?;
    }
    kubeconfig::write(run, "admin", &run.kubeconfig())?;
    sandbox.spawn("etcd", "etcd", &etcd_args(run))?;
    for (name, args) in [
        ("kube-apiserver", api_server_args(run)),
        ("kube-controller-manager", controller_manager_args(run)),
        ("kube-scheduler", scheduler_args(run)),
    ] {
        let program = tools.program(name)?;
        sandbox.spawn(name, &program.to_string_lossy(), &args)?;
    }
    Ok(())
}

/// Waits until the API server says that it is ready.
pub fn wait_ready(run: &Run, sandbox: &Sandbox, tools: &Tools) -> Result<()> {
    let waited = shell::wait_until("API server", Duration::from_mins(3), || {
        kubectl(
            run,
            tools,
            &["get", "--raw", "/readyz", "--request-timeout=2s"],
        )
        .map(drop)
    });
    waited.with_context(|| {
        let end = |name| shell::tail_of_file(&sandbox.log(name), 15);
        format!(
            "the control plane does not start.\netcd:\n{}\nkube-apiserver:\n{}",
            end("etcd"),
            end("kube-apiserver")
        )
    })
}

/// Runs kubectl as the administrator.
pub fn kubectl(run: &Run, tools: &Tools, args: &[&str]) -> Result<String> {
    let mut kubectl = std::process::Command::new(tools.program("kubectl")?);
    shell::run(kubectl.arg("--kubeconfig").arg(run.kubeconfig()).args(args))
}

/// etcd listens where no pod reaches it, since it asks for no password.
fn etcd_args(run: &Run) -> Vec<String> {
    let (client, peer) = (etcd_url(run), format!("http://{}:2380", run.loopback()));
    vec![
        format!("--data-dir={}", run.path("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--log-level=warn".into(),
    ]
}

fn etcd_url(run: &Run) -> String {
    format!("http://{}:2379", run.loopback())
}

fn api_server_args(run: &Run) -> Vec<String> {
    let pki = Pki::of(run);
    let address = run.host_address();
    vec![
        format!("--etcd-servers={}", etcd_url(run)),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        "--secure-port=6443".into(),
        format!("--service-cluster-ip-range={}", run.service_range()),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        format!("--client-ca-file={}", pki.authority().display()),
        format!(
            "--tls-cert-file={}",
            pki.certificate("api-server").display()
        ),
        format!("--tls-private-key-file={}", pki.key("api-server").display()),
        format!(
            "--kubelet-certificate-authority={}",
            pki.authority().display()
        ),
        format!(
            "--kubelet-client-certificate={}",
            pki.certificate("api-to-kubelet").display()
        ),
        format!(
            "--kubelet-client-key={}",
            pki.key("api-to-kubelet").display()
        ),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!(
            "--service-account-key-file={}",
            pki.service_account_key().display()
        ),
        format!(
            "--service-account-signing-key-file={}",
            pki.service_account_key().display()
        ),
    ]
}

fn controller_manager_args(run: &Run) -> Vec<String> {
    let pki = Pki::of(run);
    vec![
        format!(
            "--kubeconfig={}",
            run.path("pki/controller-manager.kubeconfig").display()
        ),
        format!("--bind-address={}", run.loopback()),
        "--leader-elect=false".into(),
        "--use-service-account-credentials=true".into(),
        format!(
            "--service-account-private-key-file={}",
            pki.service_account_key().display()
        ),
        format!("--root-ca-file={}", pki.authority().display()),
        format!("--cluster-signing-cert-file={}", pki.authority().display()),
        format!(
            "--cluster-signing-key-file={}",
            pki.authority_key().display()
        ),
    ]
}

fn scheduler_args(run: &Run) -> Vec<String> {
    vec![
        format!(
            "--kubeconfig={}",
            run.path("pki/scheduler.kubeconfig").display()
        ),
        format!("--bind-address={}", run.loopback()),
        "--leader-elect=false".into(),
    ]
}
