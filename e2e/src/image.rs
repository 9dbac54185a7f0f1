//! Container images from static programs, without a registry or a daemon: a
//! directory becomes a layer, a layer a docker-archive, which containerd imports.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::node::{Node, PAUSE_IMAGE};
use crate::run::{NODES, Run};
use crate::shell;
use crate::tools::{Tools, repository};

/// Shell and small tools for test pods.
pub const TOOLBOX: &str = "carafe.io/toolbox:1";
/// The cluster's DNS server.
pub const COREDNS: &str = "carafe.io/coredns:1";
/// Watches VolumeSnapshots.
pub const SNAPSHOT_CONTROLLER: &str = "carafe.io/snapshot-controller:1";

/// What an image holds.
#[derive(Debug, Default)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    files: Vec<(PathBuf, String)>,
    links: Vec<(String, String)>,
    directories: Vec<String>,
}

impl Image {
    /// An empty image that runs `entrypoint`.
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        let entrypoint = entrypoint.iter().map(|&word| word.to_owned()).collect();
        Self {
            name: name.to_owned(),
            entrypoint,
            ..Self::default()
        }
    }

    /// Adds a file of this machine at `path` in the image.
    #[must_use]
    pub fn file(mut self, source: impl Into<PathBuf>, path: &str) -> Self {
        self.files.push((source.into(), path.to_owned()));
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(mut self, target: &str, path: &str) -> Self {
        self.links.push((target.to_owned(), path.to_owned()));
        self
    }

    /// Adds a directory that everyone may write to.
    #[must_use]
    pub fn directory(mut self, path: &str) -> Self {
        self.directories.push(path.to_owned());
        self
    }

    /// Makes the archive in `work` and returns its path.
    fn archive(&self, work: &Path) -> Result<PathBuf> {
        let dir = work.join(self.name.replace(['/', ':'], "_"));
        let root = dir.join("root");
        self.fill(&root)?;
        let layer = dir.join("layer.tar");
        tar(&root, &layer, &["."])?;
        fs::remove_dir_all(&root)?;
        let digest = shell::run(shell::command("sha256sum", ["--"]).arg(&layer))?;
        let digest = digest
            .split_whitespace()
            .next()
            .context("sha256sum printed nothing")?;
        fs::write(dir.join("config.json"), self.config(digest).to_string())?;
        let manifest =
            json!([{"Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"]}]);
        fs::write(dir.join("manifest.json"), manifest.to_string())?;
        let archive = dir.with_extension("tar");
        tar(
            &dir,
            &archive,
            &["manifest.json", "config.json", "layer.tar"],
        )?;
        fs::remove_dir_all(&dir)?;
        Ok(archive)
    }

    fn fill(&self, root: &Path) -> Result<()> {
        for directory in self.directories.iter().map(String::as_str).chain(["/tmp"]) {
            let path = inside(root, directory);
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o1777))?;
        }
        for (source, path) in &self.files {
            let target = inside(root, path);
            create_parent(&target)?;
            fs::copy(source, &target)
                .with_context(|| format!("cannot copy {} into {}", source.display(), self.name))?;
        }
        for (link, path) in &self.links {
            let path = inside(root, path);
            create_parent(&path)?;
            symlink(link, path)?;
        }
        Ok(())
    }

    fn config(&self, layer: &str) -> serde_json::Value {
        json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": ["PATH=/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        })
    }
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn create_parent(path: &Path) -> Result<()> {
    fs::create_dir_all(path.parent().context("the path has no parent")?)?;
    Ok(())
}

/// Always the same bytes for the same content.
fn tar(dir: &Path, archive: &Path, members: &[&str]) -> Result<()> {
    let mut tar = shell::command(
        "tar",
        [
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
        ],
    );
    shell::run(tar.arg("-C").arg(dir).arg("-cf").arg(archive).args(members))?;
    Ok(())
}

/// Brings images to every node of a run.
pub fn load(run: &Run, images: &[Image]) -> Result<()> {
    let nodes: Vec<Node> = (1..=NODES).map(|number| Node::new(run, number)).collect();
    let work = tempfile::tempdir_in(run.dir())?;
    for image in images {
        let archive = image.archive(work.path())?;
        std::thread::scope(|scope| {
            let threads: Vec<_> = nodes
                .iter()
                .map(|node| scope.spawn(|| import(node, &archive)))
                .collect();
            threads.into_iter().try_for_each(shell::joined)
        })?;
        fs::remove_file(archive)?;
    }
    Ok(())
}

fn import(node: &Node, archive: &Path) -> Result<()> {
    shell::run(node.ctr().args(["images", "import"]).arg(archive))?;
    Ok(())
}

/// The pause image, compiled from a dozen lines of C.
pub fn pause(run: &Run) -> Result<Image> {
    let program = run.path("pause");
    let source = repository().join("e2e/images/pause.c");
    shell::run(
        shell::command("gcc", ["-static", "-Os", "-s", "-o"])
            .arg(&program)
            .arg(source),
    )?;
    Ok(Image::new(PAUSE_IMAGE, &["/pause"]).file(program, "/pause"))
}

/// What test pods run: busybox, and this program for what its applets cannot do.
pub fn toolbox() -> Result<Image> {
    let busybox = "/usr/bin/busybox";
    let applets = shell::run(shell::command(busybox, ["--list"]).env_clear())?;
    let image = Image::new(TOOLBOX, &["/bin/sh"])
        .file(busybox, "/bin/busybox")
        .file(std::env::current_exe()?, "/usr/bin/carafe-e2e");
    let applets = applets.lines().filter(|applet| *applet != "busybox");
    Ok(applets.fold(image, |image, applet| {
        image.link("busybox", &format!("/bin/{applet}"))
    }))
}

/// The images of the cluster's own parts.
pub fn addons(tools: &Tools) -> Result<Vec<Image>> {
    let one = |name: &str, program: &str| -> Result<Image> {
        let path = format!("/{program}");
        Ok(Image::new(name, &[&path]).file(tools.program(program)?, &path))
    };
    Ok(vec![
        one(COREDNS, "coredns")?,
        one(SNAPSHOT_CONTROLLER, "snapshot-controller")?,
    ])
}
