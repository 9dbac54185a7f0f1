//! `make demo`: a claim that two pods on two nodes share, from nothing to bytes
//! in the object store, and the real `juicefs` reading the same bytes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::backends::{self, Backends};
use crate::run::{DEV, Run};
use crate::sandbox::Sandbox;
use crate::tools::{Tools, repository};
use crate::{chart, cluster, control_plane, image, shell};

/// Runs the demo on the cluster of `make up`, and leaves everything running.
pub fn run() -> Result<()> {
    let run = Run::new(DEV)?;
    let demo = Demo {
        tools: Tools::find()?,
        run,
    };
    step("a Kubernetes of two nodes on this machine");
    cluster::up(&demo.run, None)?;
    step("Carafe, built from this checkout and installed with helm");
    let image = chart::load_images(&demo.run)?;
    chart::install(&demo.run.kubeconfig(), &[&image])?;
    step("a Secret, a StorageClass, a claim, and a pod on each node");
    demo.apply()?;
    step("the pod on node1 writes, the pod on node2 reads");
    demo.write_and_read()?;
    step("what runs: the claim, the pods, and the mount pods that serve them");
    demo.show_objects()?;
    step("the blocks in the object store");
    demo.show_blocks()?;
    step("the real juicefs, reading the same volume");
    demo.read_with_juicefs()?;
    demo.say_what_next();
    Ok(())
}

fn step(what: &str) {
    println!("\n=== {what}");
}

struct Demo {
    run: Run,
    tools: Tools,
}

impl Demo {
    fn kubectl(&self, args: &[&str]) -> Result<String> {
        control_plane::kubectl(&self.run, &self.tools, args)
    }

    /// Shows the command as a user would type it, and what it prints.
    fn show(&self, args: &[&str]) -> Result<()> {
        println!("$ kubectl {}", args.join(" "));
        print!("{}", self.kubectl(args)?);
        Ok(())
    }

    fn apply(&self) -> Result<()> {
        let backends = Backends::of(&self.run)?;
        let yaml = fs::read_to_string(repository().join("e2e/manifests/demo.yaml"))?
            .replace("{redis}", &backends.redis)
            .replace("{bucket}", &format!("{}/{}", backends.s3, backends.bucket))
            .replace("{access-key}", &backends.access_key)
            .replace("{secret-key}", &backends.secret_key)
            .replace("{toolbox}", image::TOOLBOX);
        let file = self.run.path("demo.yaml");
        fs::write(&file, yaml)?;
        self.show(&["apply", "-f", &file.to_string_lossy()])?;
        self.kubectl(&[
            "wait",
            "--for=condition=Ready",
            "pod/writer",
            "pod/reader",
            "--timeout=120s",
        ])
        .map(drop)
        .map_err(|error| error.context(self.why_not_ready()))
    }

    fn why_not_ready(&self) -> String {
        let events = self.kubectl(&["get", "events", "--field-selector=type=Warning"]);
        format!(
            "the pods do not start; what Kubernetes says:\n{}",
            events.unwrap_or_default()
        )
    }

    fn write_and_read(&self) -> Result<()> {
        let write = "echo \"written on node1 at $(date)\" > /shared/hello && dd if=/dev/urandom of=/shared/random bs=1M count=16 2>/dev/null && sync /shared/hello /shared/random";
        self.show(&["exec", "writer", "--", "sh", "-c", write])?;
        // The reader's kernel may remember for a second that the name was not there.
        self.show(&[
            "exec",
            "reader",
            "--",
            "sh",
            "-c",
            "sleep 1; ls -l /shared; cat /shared/hello; md5sum /shared/random",
        ])
    }

    fn show_objects(&self) -> Result<()> {
        self.show(&["get", "pvc,pods", "-o", "wide"])?;
        self.show(&["get", "pods", "-n", chart::MOUNT_NAMESPACE, "-o", "wide"])
    }

    fn show_blocks(&self) -> Result<()> {
        let bucket = backends::objects(&self.run).join(Backends::of(&self.run)?.bucket);
        println!("$ find {}", bucket.display());
        let found = shell::run(shell::command("find", ["."]).current_dir(&bucket).args([
            "-type",
            "f",
            "-size",
            "+0",
            "-printf",
            "%10s %P\n",
        ]))?;
        print!("{}", shell::tail(&found, 12) + "\n");
        Ok(())
    }

    /// In the control plane's sandbox, so that `make down` ends it, whatever happens here.
    fn read_with_juicefs(&self) -> Result<()> {
        let control =
            Sandbox::open(&self.run.path("control"))?.context("the control plane has ended")?;
        let mounted = self.run.path("juicefs");
        fs::create_dir_all(&mounted)?;
        let juicefs = self.tools.program("juicefs")?;
        self.mount(&control, &juicefs, &mounted)?;
        let volume =
            self.kubectl(&["get", "pvc", "shared", "-o", "jsonpath={.spec.volumeName}"])?;
        let script = format!(
            "cd {} && ls -l {volume} && cat {volume}/hello && md5sum {volume}/random",
            mounted.display()
        );
        println!("$ {script}");
        let read = shell::run(control.command("sh").args(["-c", &script]));
        shell::run(control.command("umount").arg(&mounted))?;
        print!("{}", read?);
        Ok(())
    }

    fn mount(&self, control: &Sandbox, juicefs: &Path, mounted: &Path) -> Result<()> {
        let metaurl = format!("{}/0", Backends::of(&self.run)?.redis);
        let mut mount = control.command("env");
        mount.args(["-C", "/"]).arg(juicefs).args([
            "mount",
            "--background",
            "--read-only",
            "--no-usage-report",
        ]);
        mount
            .arg("--cache-dir")
            .arg(self.run.path("juicefs-cache"))
            .arg("--log")
            .arg(self.run.path("juicefs.log"));
        shell::run(mount.arg(metaurl).arg(mounted))?;
        Ok(())
    }

    fn say_what_next(&self) {
        println!(
            "\nEverything goes on running. To try more:\n  \
             export KUBECONFIG={}\n  \
             export PATH=$(e2e/tools/install --path):$PATH\n  \
             kubectl exec -it writer -- sh                    # a shell with /shared\n  \
             kubectl describe pvc shared                      # what happened to the claim\n  \
             kubectl -n {} logs -l carafe.io/volume -f        # what the mount pods say\n  \
             kubectl delete pod writer reader && kubectl get pods -n {}\n  \
             make down                                        # removes all of it",
            self.run.kubeconfig().display(),
            chart::MOUNT_NAMESPACE,
            chart::MOUNT_NAMESPACE
        );
    }
}
