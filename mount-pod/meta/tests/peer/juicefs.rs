//! The peer's command line.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// `juicefs` for one volume on a directory as its store.
pub(crate) struct Juicefs {
    program: PathBuf,
    url: String,
    dir: TempDir,
}

impl Juicefs {
    /// For the volume at the URL that `url` makes of a temporary directory.
    pub(crate) fn new(url: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = url(dir.path());
        std::fs::create_dir(dir.path().join("store")).unwrap();
        Self {
            program: carafe_testkit::juicefs(),
            url,
            dir,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn format(&self) {
        let store = self.store();
        self.run_with_tail(
            &["format", "--storage", "file", "--bucket"],
            &[store.to_str().unwrap()],
            &["vol"],
        );
    }

    /// Runs `juicefs <command…> <url>`; it must succeed.
    pub(crate) fn run(&self, command: &[&str]) -> String {
        self.run_with(command, &[])
    }

    /// Runs `juicefs <command…> <url> <options…>`.
    pub(crate) fn run_with(&self, command: &[&str], options: &[&str]) -> String {
        self.run_with_tail(command, &[], options)
    }

    fn run_with_tail(&self, command: &[&str], before: &[&str], after: &[&str]) -> String {
        let mut process = Command::new(&self.program);
        process
            .args(command)
            .args(before)
            .arg(&self.url)
            .args(after);
        let output = process.output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            output.status.success(),
            "juicefs {command:?} {after:?}: {}\n{text}",
            output.status
        );
        assert!(
            !text.contains("<ERROR>") && !text.contains("<FATAL>"),
            "juicefs {command:?}: {text}"
        );
        text
    }

    /// fsck, gc and a check of every directory find nothing.
    pub(crate) fn check(&self) {
        self.run(&["fsck"]);
        let gc = self.run(&["gc"]);
        assert!(gc.contains(" 0 leaked"), "{gc}");
        let tree = self.run_with(&["fsck"], &["--path", "/", "--recursive"]);
        // How fast a server answers is no fault of the volume.
        let is_fault = |line: &str| line.contains("<WARNING>") && !line.contains("latency");
        assert!(!tree.lines().any(is_fault), "{tree}");
    }

    pub(crate) fn dump(&self) -> String {
        let file = self.dir.path().join("dump.json");
        self.run_with(&["dump"], &[file.to_str().unwrap()]);
        std::fs::read_to_string(file).unwrap()
    }

    /// Mounts it until the handle is dropped.
    pub(crate) fn mount(&self) -> Mounted {
        let point = self.dir.path().join("mnt");
        std::fs::create_dir_all(&point).unwrap();
        let cache = self.dir.path().join("cache");
        let mut process = Command::new(&self.program);
        process.args([
            "mount",
            "-d",
            "--no-usage-report",
            "--enable-xattr",
            "--attr-cache",
            "0",
            "--entry-cache",
            "0",
        ]);
        process
            .args([
                "--dir-entry-cache",
                "0",
                "--backup-meta",
                "0",
                "--cache-dir",
            ])
            .arg(cache);
        process
            .arg("--log")
            .arg(self.dir.path().join("mount.log"))
            .arg(&self.url)
            .arg(&point);
        let output = process.output().unwrap();
        assert!(
            output.status.success(),
            "juicefs mount: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let until = Instant::now() + Duration::from_secs(20);
        while !is_mounted(&point) {
            assert!(Instant::now() < until, "juicefs did not mount");
            sleep(Duration::from_millis(50));
        }
        Mounted {
            program: self.program.clone(),
            point,
        }
    }
}

fn is_mounted(point: &Path) -> bool {
    std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .contains(&format!(" {} ", point.display()))
}

/// A mount by the peer.
pub(crate) struct Mounted {
    program: PathBuf,
    point: PathBuf,
}

impl Mounted {
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmount = |arguments: &[&str]| {
            Command::new(&self.program)
                .args(arguments)
                .arg(&self.point)
                .output()
        };
        if !unmount(&["umount", "--flush"]).is_ok_and(|output| output.status.success()) {
            let _ = unmount(&["umount", "--force"]);
        }
    }
}
