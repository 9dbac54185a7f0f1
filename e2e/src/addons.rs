//! What runs in every cluster before anything of ours: DNS, the snapshot kinds
//! with their controller, and the Secret that tells tests where the back ends are.

use std::fs;

use anyhow::Result;
use serde_json::json;

use crate::backends::{self, Backends};
use crate::control_plane::kubectl;
use crate::image;
use crate::run::Run;
use crate::tools::{Tools, repository};

/// Applies everything; does not wait until it runs.
pub fn apply(run: &Run, tools: &Tools, backends: &Backends) -> Result<()> {
    let file = run.path("addons.yaml");
    fs::write(&file, base(run)?)?;
    let crds = tools.snapshot_crds()?;
    kubectl(
        run,
        tools,
        &[
            "apply",
            "--server-side",
            "-f",
            &crds.to_string_lossy(),
            "-f",
            &file.to_string_lossy(),
        ],
    )?;
    let file = run.path("backends-secret.json");
    fs::write(&file, secret(backends).to_string())?;
    kubectl(
        run,
        tools,
        &["apply", "--server-side", "-f", &file.to_string_lossy()],
    )?;
    Ok(())
}

fn base(run: &Run) -> Result<String> {
    let text = fs::read_to_string(repository().join("e2e/manifests/base.yaml"))?;
    Ok(text
        .replace("{coredns}", image::COREDNS)
        .replace("{snapshot-controller}", image::SNAPSHOT_CONTROLLER)
        .replace("{dns}", &run.dns_address().to_string()))
}

fn secret(backends: &Backends) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": backends::SECRET, "namespace": backends::NAMESPACE},
        "stringData": backends,
    })
}

/// Waits until cluster DNS answers.
pub fn wait_ready(run: &Run, tools: &Tools) -> Result<()> {
    kubectl(
        run,
        tools,
        &[
            "-n",
            "kube-system",
            "rollout",
            "status",
            "deployment/coredns",
            "--timeout=120s",
        ],
    )?;
    Ok(())
}
