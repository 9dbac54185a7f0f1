//! A server under a keeper: a shell that ends the server and removes its directory
//! when the test's process closes the keeper's input, in whatever way it ends. So one
//! server can serve all tests of a process, although nobody drops what is static.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::chown,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::wait_until_stopped;

/// What the keeper runs: the directory, then the server's command.
const KEEPER: &str = r#"dir=$1; shift
"$@" </dev/null >"$dir/log" 2>&1 & server=$!
echo "$server"
read -r word
kill -CONT "$server" 2>/dev/null
for child in $(cat "/proc/$server/task/$server/children" 2>/dev/null); do kill -KILL "$child" 2>/dev/null; done
kill -KILL "$server" 2>/dev/null
wait "$server" 2>/dev/null
[ "$word" = keep ] || rm -rf "$dir"
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Kept {
    keeper: Child,
    input: Option<ChildStdin>,
    pid: i32,
}

impl Kept {
    /// Starts a command, in whose directory the log goes, and waits until `is_up`.
    pub(crate) fn start(command: &[String], dir: &Path, is_up: impl Fn() -> bool) -> Self {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(dir)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("no shell: {error}"));
        let input = keeper.stdin.take();
        let mut line = String::new();
        if let Some(output) = keeper.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut line);
        }
        let pid = line.trim().parse().unwrap_or(0);
        let mut kept = Self { keeper, input, pid };
        kept.wait(&command.join(" "), dir, is_up);
        kept
    }

    fn wait(&mut self, what: &str, dir: &Path, is_up: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_mins(1);
        while !is_up() {
            let is_gone = !Path::new(&format!("/proc/{}/exe", self.pid)).exists();
            assert!(
                !is_gone && Instant::now() < until,
                "{what} does not start: run `make tools`\n{}",
                fs::read_to_string(dir.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server and its processes in their tracks: connections stay open and
    /// nobody answers.
    pub(crate) fn hang(&self) {
        self.signal(Signal::STOP);
        wait_until_stopped(self.pid);
        self.children().into_iter().for_each(wait_until_stopped);
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the server and leaves its directory. Its processes hold what they share
    /// until the last has ended: a server that starts before that refuses to.
    pub(crate) fn kill(&mut self) {
        let children = self.children();
        self.end("keep\n");
        let until = Instant::now() + Duration::from_secs(20);
        let is_there = |pid: &i32| Path::new(&format!("/proc/{pid}/exe")).exists();
        while children.iter().any(is_there) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn children(&self) -> Vec<i32> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = fs::read_to_string(children).unwrap_or_default();
        let numbers = children.split_whitespace();
        numbers.filter_map(|pid| pid.parse().ok()).collect()
    }

    fn signal(&self, signal: Signal) {
        let send = |pid: i32| {
            // A child may have ended since.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
        };
        // The parent first, so that it makes no more children.
        send(self.pid);
        self.children().into_iter().for_each(send);
    }

    fn end(&mut self, word: &str) {
        if let Some(mut input) = self.input.take() {
            let _ = input.write_all(word.as_bytes());
        }
        let _ = self.keeper.wait();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end("");
    }
}

/// A new directory that belongs to the user of that name, if we may give it away.
pub(crate) fn directory_of(user: &str) -> std::path::PathBuf {
    let dir = tempfile::Builder::new()
        .prefix("carafe-")
        .tempdir()
        .unwrap_or_else(|error| panic!("no temporary directory: {error}"))
        .keep();
    give(user, &dir);
    dir
}

/// Gives a file or directory to the user of that name, if we may.
pub(crate) fn give(user: &str, path: &Path) {
    if rustix::process::geteuid().is_root() {
        let id = |flag: &str| {
            let said = run(Command::new("id").args([flag, user]));
            said.trim().parse::<u32>().ok()
        };
        chown(path, id("-u"), id("-g"))
            .unwrap_or_else(|error| panic!("{} to {user}: {error}", path.display()));
    }
}

/// A command as a user of that name: these servers refuse to be root's.
pub(crate) fn command_as(user: &str, command: &[&str]) -> Vec<String> {
    let as_user = [
        "setpriv",
        "--reuid",
        user,
        "--regid",
        user,
        "--clear-groups",
    ];
    let as_user: &[&str] = if rustix::process::geteuid().is_root() {
        &as_user
    } else {
        &[]
    };
    as_user
        .iter()
        .chain(command)
        .map(ToString::to_string)
        .collect()
}

/// Runs a command that must succeed; what it said.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start ({error}): run `make tools`"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
