//! `mount -d`: the supervisor starts anew as a session leader, and the command
//! ends when that one serves or has failed.

use std::{
    fs::OpenOptions,
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::failure::Failure;

/// Tells the command that waits how the mount went; without one it prints.
#[derive(Debug)]
pub(crate) struct Readiness {
    background: bool,
}

impl Readiness {
    /// `background`: the command that waits reads this process's standard output.
    pub(crate) fn new(background: bool) -> Self {
        Self { background }
    }

    /// The mount is served.
    pub(crate) fn ready(&mut self, mount_point: &str) {
        if self.background {
            self.answer("ready");
        } else {
            println!("mounted at {mount_point}; end it with `carafe umount` or Ctrl-C");
        }
    }

    /// The mount is not served; `reason` is for the user.
    pub(crate) fn failed(&mut self, reason: &str) {
        if self.background {
            self.answer(reason);
        }
    }

    fn answer(&mut self, text: &str) {
        let mut out = std::io::stdout();
        // The reader may be gone; the mount goes on.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
        self.background = false;
    }
}

/// Starts this command again in the background, logging to `log`, and waits for
/// its one line.
pub(crate) fn start_in_background(log: &Path) -> Result<(), Failure> {
    let log_file = OpenOptions::new().create(true).append(true).open(log);
    let log_file = log_file.map_err(Failure::system(format!("log {}", log.display())))?;
    let program = std::env::current_exe().map_err(Failure::system("find this program"))?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--in-background")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .process_group(0)
        .spawn()
        .map_err(Failure::system("start in the background"))?;
    let mut said = String::new();
    if let Some(out) = child.stdout.take() {
        read_line(out, &mut said).map_err(Failure::system("wait for the mount"))?;
    }
    match said.trim() {
        "ready" => Ok(()),
        "" => Err(Failure::Mount(format!(
            "the mount ended before it was ready; see {}",
            log.display()
        ))),
        reason => Err(Failure::Mount(reason.to_owned())),
    }
}

/// One byte at a time: the pipe stays open as long as the mount lives.
fn read_line(mut out: impl Read, line: &mut String) -> std::io::Result<()> {
    let (mut byte, mut bytes) = ([0u8], Vec::new());
    while out.read(&mut byte)? == 1 && byte[0] != b'\n' {
        bytes.push(byte[0]);
    }
    line.push_str(&String::from_utf8_lossy(&bytes));
    Ok(())
}
