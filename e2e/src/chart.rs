//! The images and the chart of this checkout, as a user gets them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::image::{self, Image};
use crate::run::Run;
use crate::shell;
use crate::tools::{Tools, repository};

/// The namespace that the chart is installed into.
pub const NAMESPACE: &str = "carafe";
/// The namespace of the mount pods, which enforces Pod Security "restricted".
pub const MOUNT_NAMESPACE: &str = "carafe-system";
/// The release's name.
pub const RELEASE: &str = "carafe";

/// Builds the static programs and brings the images that the chart names to the run's
/// nodes. Answers the chart's value that names this build's image: another build has
/// another name, so an upgrade of the chart replaces the pods.
pub fn load_images(run: &Run) -> Result<String> {
    let tools = Tools::find()?;
    let programs = build(&["carafe", "carafe-csi-driver"])?;
    let value = format!("image.tag={}", digest(&programs)?);
    let mut template = helm(&tools)?;
    template
        .args(["template", RELEASE, "--set", &value])
        .arg(directory());
    let manifests = shell::run(&mut template)?;
    let images = image_names(&manifests)
        .into_iter()
        .map(|name| match program_of(name) {
            "carafe" => carafe_image(run, name, &programs),
            program => sidecar_image(&tools, name, program),
        })
        .collect::<Result<Vec<_>>>()?;
    image::load(run, &images)?;
    Ok(value)
}

fn digest(programs: &[PathBuf]) -> Result<String> {
    let sums = shell::run(shell::command("sha256sum", ["--"]).args(programs))?;
    let first = |line: &str| line.chars().take(8).collect::<String>();
    Ok(sums.lines().map(first).collect::<Vec<_>>().join("-"))
}

fn image_names(manifests: &str) -> BTreeSet<&str> {
    manifests.lines().filter_map(image_name).collect()
}

fn image_name(line: &str) -> Option<&str> {
    let name = line
        .trim_start()
        .trim_start_matches("- ")
        .strip_prefix("image:")?;
    Some(name.trim().trim_matches('"'))
}

/// `registry.k8s.io/sig-storage/csi-resizer:v2.2.0` holds `csi-resizer`.
fn program_of(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last)
}

fn sidecar_image(tools: &Tools, name: &str, program: &str) -> Result<Image> {
    let path = format!("/{program}");
    Ok(Image::new(name, &[&path]).file(tools.program(program)?, &path))
}

fn carafe_image(run: &Run, name: &str, programs: &[PathBuf]) -> Result<Image> {
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    let mut image = Image::new(name, &["/usr/bin/carafe"]).file(certificates, certificates);
    for program in programs {
        let name = program
            .file_name()
            .and_then(|name| name.to_str())
            .context("a program without a name")?;
        let stripped = run.path(name);
        shell::run(
            shell::command("objcopy", ["--strip-debug"])
                .arg(program)
                .arg(&stripped),
        )?;
        image = image.file(stripped, &format!("/usr/bin/{name}"));
    }
    Ok(image)
}

/// Builds packages whose one binary has the package's name.
fn build(packages: &[&str]) -> Result<Vec<PathBuf>> {
    println!("building {}", packages.join(" and "));
    let directory = binaries()?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--locked"])
        .args(selection(packages, is_test()?))
        .current_dir(repository());
    // Its progress is for the terminal: a first build takes minutes.
    let status = cargo
        .status()
        .context("cannot run cargo; is Rust installed?")?;
    ensure!(
        status.success(),
        "cargo cannot build {}; its messages stand above",
        packages.join(" and ")
    );
    Ok(packages
        .iter()
        .map(|package| directory.join(package))
        .collect())
}

/// What cargo shall build. A test was built with the features of the whole workspace:
/// selected like this, the programs are built already.
fn selection(packages: &[&str], for_test: bool) -> Vec<String> {
    if for_test {
        return ["--workspace", "--bins", "--tests"]
            .map(str::to_owned)
            .into();
    }
    let options = |package: &&str| [format!("--package={package}"), format!("--bin={package}")];
    packages.iter().flat_map(options).collect()
}

/// Whether the calling program is a test: those lie in a directory of their own.
fn is_test() -> Result<bool> {
    Ok(own_directory()?.ends_with("deps"))
}

/// Where cargo puts what it builds: this program, or the test that calls it, lies
/// there too.
fn binaries() -> Result<PathBuf> {
    let mut directory = own_directory()?;
    if is_test()? {
        directory.pop();
    }
    Ok(directory)
}

fn own_directory() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().context("this program has no directory")?;
    Ok(directory.to_owned())
}

fn directory() -> PathBuf {
    repository().join("charts/carafe")
}

fn helm(tools: &Tools) -> Result<Command> {
    Ok(Command::new(tools.program("helm")?))
}

/// Installs the chart with helm and waits until it runs.
pub fn install(kubeconfig: &Path, values: &[&str]) -> Result<()> {
    let mut helm = helm(&Tools::find()?)?;
    helm.arg("--kubeconfig").arg(kubeconfig);
    helm.args(["upgrade", "--install", RELEASE])
        .arg(directory());
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
    let problem =
        || format!("the chart does not come up; `kubectl -n {NAMESPACE} get pods,events` says why");
    shell::run(&mut helm).with_context(problem)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_in_manifests_and_named_after_their_program() {
        let manifests = "containers:\n  - image: \"ghcr.io/x/carafe:0.1.0\"\n    name: a\n  - name: b\n    image: r.io/csi-resizer@sha256:0\n";
        let names = image_names(manifests);
        assert_eq!(
            names.into_iter().map(program_of).collect::<Vec<_>>(),
            ["carafe", "csi-resizer"]
        );
    }
}
