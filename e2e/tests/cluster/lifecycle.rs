//! The cluster on this machine comes once, and goes without a trace.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use carafe_e2e::run::Run;
use carafe_e2e::shell;

use crate::cluster;
use crate::fixture::eventually;

fn up(run: &Run, owner: &Child) -> String {
    let mut up = Command::new(env!("CARGO_BIN_EXE_carafe-e2e"));
    up.args(["up", "--id", run.id(), "--owner", &owner.id().to_string()]);
    shell::run(&mut up).unwrap()
}

#[tokio::test]
async fn a_cluster_is_made_once_and_leaves_nothing_when_its_owner_dies() {
    // Once the other tests' cluster is there, the next fresh one is another.
    tokio::task::spawn_blocking(cluster::kubeconfig)
        .await
        .unwrap();
    let run = Run::fresh().unwrap();
    let mut owner = Command::new("sleep").arg("600").spawn().unwrap();
    let first = up(&run, &owner);
    println!("{first}");
    assert!(first.contains("both nodes Ready"), "{first}");
    assert!(first.contains(&format!("export KUBECONFIG={}", run.kubeconfig().display())));
    let second = up(&run, &owner);
    assert!(second.contains("runs already"), "{second}");
    assert!(
        !traces(&run).is_empty(),
        "the traces are looked for rightly"
    );

    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("a machine as before", || async {
        let left = traces(&run);
        if left.is_empty() {
            return Ok(());
        }
        Err(left.join("\n"))
    })
    .await;
}

/// Files, mounts, network devices, control groups and processes of the run.
fn traces(run: &Run) -> Vec<String> {
    let directory = run.dir().display().to_string();
    let mut found = Vec::new();
    if run.dir().exists() {
        found.push(directory.clone());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&directory))
            .map(str::to_owned),
    );
    found.extend(entries("/sys/class/net").filter(|name| name.starts_with(&run.bridge())));
    for hierarchy in entries("/sys/fs/cgroup") {
        let group = Path::new("/sys/fs/cgroup")
            .join(hierarchy)
            .join(run.cgroup());
        found.extend(group.exists().then(|| group.display().to_string()));
    }
    found.extend(
        entries("/proc")
            .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
            .filter_map(|pid| {
                let line = fs::read(Path::new("/proc").join(&pid).join("cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.contains(&format!("{directory}/"))
                    .then(|| format!("{pid}: {line}"))
            }),
    );
    found
}

fn entries(directory: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}
