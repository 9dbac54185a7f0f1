//! The images and the chart of this checkout, as a user gets them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::image::{self, Image};
use crate::run::Run;
use crate::shell;
use crate::tools::{Tools, repository};

/// The namespace that the chart is installed into.
pub const NAMESPACE: &str = "carafe-system";
/// The release's name.
pub const RELEASE: &str = "carafe";

/// The driver and the client, both in one image.
pub const CARAFE_IMAGE: &str = "ghcr.io/carafe-io/carafe:0.1.0";
/// The sidecars, under the names that the chart has by default.
const SIDECARS: [(&str, &str); 2] = [
    (
        "csi-provisioner",
        "registry.k8s.io/sig-storage/csi-provisioner:v6.3.0",
    ),
    (
        "csi-resizer",
        "registry.k8s.io/sig-storage/csi-resizer:v2.2.0",
    ),
];

/// Builds the static programs and brings their images to the run's nodes.
pub fn load_images(run: &Run) -> Result<()> {
    let tools = Tools::find()?;
    let mut images = vec![carafe_image(run)?];
    for (program, name) in SIDECARS {
        let path = format!("/{program}");
        images.push(Image::new(name, &[&path]).file(tools.program(program)?, &path));
    }
    image::load(run, &images)
}

fn carafe_image(run: &Run) -> Result<Image> {
    let programs = build(&["carafe", "carafe-csi-driver"])?;
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    let mut image = Image::new(CARAFE_IMAGE, &["/usr/bin/carafe"]).file(certificates, certificates);
    for program in programs {
        let name = program
            .file_name()
            .and_then(|name| name.to_str())
            .context("a program without a name")?;
        let stripped = run.path(name);
        shell::run(
            shell::command("objcopy", ["--strip-debug"])
                .arg(&program)
                .arg(&stripped),
        )?;
        image = image.file(stripped, &format!("/usr/bin/{name}"));
    }
    Ok(image)
}

/// Builds packages whose one binary has the package's name.
fn build(packages: &[&str]) -> Result<Vec<PathBuf>> {
    println!("building {}", packages.join(" and "));
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--locked"])
        .current_dir(repository());
    for package in packages {
        cargo.args(["--package", package, "--bin", package]);
    }
    shell::run(&mut cargo)?;
    let directory = binaries()?;
    Ok(packages
        .iter()
        .map(|package| directory.join(package))
        .collect())
}

/// Where cargo puts what it builds: this program, or the test that calls it,
/// lies there too.
fn binaries() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().context("this program has no directory")?;
    Ok(if directory.ends_with("deps") {
        directory.parent().unwrap_or(directory)
    } else {
        directory
    }
    .to_owned())
}

/// Installs the chart with helm and waits until it runs.
pub fn install(kubeconfig: &Path, values: &[&str]) -> Result<()> {
    let tools = Tools::find()?;
    let mut helm = Command::new(tools.program("helm")?);
    helm.arg("--kubeconfig").arg(kubeconfig);
    helm.args(["upgrade", "--install", RELEASE])
        .arg(repository().join("charts/carafe"));
    helm.args([
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout",
        "120s",
    ]);
    for value in values {
        helm.args(["--set", value]);
    }
    shell::run(&mut helm).context(
        "the chart does not come up; `kubectl -n carafe-system get pods,events` says why",
    )?;
    Ok(())
}
