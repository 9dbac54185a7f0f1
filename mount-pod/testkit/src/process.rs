//! A server as a child process.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap_or_else(|error| panic!("no loopback port: {error}"));
    listener
        .local_addr()
        .unwrap_or_else(|error| panic!("no loopback port: {error}"))
        .port()
}

/// A running server; killed on drop.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
}

impl Server {
    /// Starts `command` and waits until something listens on `port`.
    pub fn start(name: &str, command: &mut Command, port: u16) -> Self {
        Self::spawn(name, command.stdin(Stdio::null()), port)
    }

    /// As [`Server::start`]; it reads from a pipe that is open as long as this process is.
    pub(crate) fn start_kept(name: &str, command: &mut Command, port: u16) -> Self {
        Self::spawn(name, command.stdin(Stdio::piped()), port)
    }

    fn spawn(name: &str, command: &mut Command, port: u16) -> Self {
        command.stdout(Stdio::null());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({error}): run `make tools`"));
        let mut server = Self {
            name: name.to_owned(),
            child,
        };
        server.wait_for(port);
        server
    }

    fn wait_for(&mut self, port: u16) {
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended as it started: {status}", self.name);
            }
            assert!(
                Instant::now() < until,
                "{} does not listen on port {port} after 20 s",
                self.name
            );
            sleep(Duration::from_millis(10));
        }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and nobody answers.
    pub fn hang(&self) {
        self.signal(Signal::STOP);
        wait_until_stopped(self.child.id() as i32);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it at once and waits for its end.
    pub fn kill(&mut self) {
        // It may be gone already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32)
            .unwrap_or_else(|| panic!("{} has no process", self.name));
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("signalling {}: {error}", self.name));
    }
}

/// Waits until a process that was sent SIGSTOP has stopped: until each of its threads
/// has taken the signal it may go on answering. One that has ended is waited for no more.
pub(crate) fn wait_until_stopped(pid: i32) {
    let until = Instant::now() + Duration::from_secs(20);
    while fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|thread| runs(&fs::read_to_string(thread.path().join("stat")).unwrap_or_default()))
    {
        assert!(
            Instant::now() < until,
            "process {pid} goes on after SIGSTOP"
        );
        sleep(Duration::from_millis(1));
    }
}

/// Whether a thread with this line in `/proc` is neither stopped nor at its end. The
/// state stands behind the name, which may itself have parentheses (proc_pid_stat(5)).
fn runs(stat: &str) -> bool {
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    state.starts_with(['R', 'S', 'D', 'I'])
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
