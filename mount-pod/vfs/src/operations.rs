//! What was asked of this mount lately: figures for `.stats`, and lines for those who
//! have `.accesslog` open. Without a reader an operation costs two additions.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use carafe_types::{Ino, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Call;

/// Lines that wait for a slow reader; older ones are dropped.
const MOST_LINES: usize = 10_000;
/// A read without lines is answered after this, so that a reader can be ended.
const SILENCE: Duration = Duration::from_secs(1);
/// What such a read is answered with, as the peer does.
const NOTHING: &[u8] = b"#\n";

/// An operation that is done.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// Its name, as the peer spells it.
    pub name: &'static str,
    /// Who asked.
    pub call: &'a Call,
    /// The inode that it began with.
    pub ino: Ino,
    /// The errno that it ended with; 0 is success.
    pub errno: i32,
    /// How long it took.
    pub took: Duration,
}

/// The operations of a mount.
pub(crate) struct Operations {
    count: AtomicU64,
    nanos: AtomicU64,
    started: Instant,
    heard: AtomicBool,
    listeners: Mutex<Vec<Weak<Listener>>>,
}

/// Somebody who has `.accesslog` open.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    lines: Mutex<VecDeque<String>>,
    wake: Notify,
}

impl Operations {
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            started: Instant::now(),
            heard: AtomicBool::new(false),
            listeners: Mutex::default(),
        }
    }

    /// An operation is done; `now` is asked for only if somebody listens.
    pub(crate) fn note(&self, done: Done<'_>, now: impl FnOnce() -> Timestamp) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let nanos = done.took.as_nanos() as u64;
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        if self.heard.load(Ordering::Relaxed) {
            self.tell(&line(done, now()));
        }
    }

    fn tell(&self, line: &str) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|listener| {
            let there = listener.upgrade();
            if let Some(listener) = &there {
                listener.hear(line);
            }
            there.is_some()
        });
        self.heard.store(!listeners.is_empty(), Ordering::Relaxed);
    }

    pub(crate) fn listen(&self) -> Arc<Listener> {
        let listener = Arc::new(Listener::default());
        let mut listeners = self.listeners.lock();
        listeners.push(Arc::downgrade(&listener));
        self.heard.store(true, Ordering::Relaxed);
        listener
    }

    /// How many there were, and the seconds that they took together.
    pub(crate) fn figures(&self) -> (u64, f64) {
        let nanos = self.nanos.load(Ordering::Relaxed);
        (self.count.load(Ordering::Relaxed), nanos as f64 / 1e9)
    }

    /// How long this process has served.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Listener {
    fn hear(&self, line: &str) {
        let mut lines = self.lines.lock();
        if lines.len() == MOST_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
        self.wake.notify_one();
    }

    /// Whole lines of at most `len` bytes; waits for one, but not for long.
    pub(crate) async fn read(&self, len: usize) -> Bytes {
        let heard = async {
            loop {
                let text = self.take(len);
                if !text.is_empty() {
                    return text;
                }
                self.wake.notified().await;
            }
        };
        let text = tokio::time::timeout(SILENCE, heard).await;
        text.map_or(Bytes::from_static(NOTHING), Bytes::from)
    }

    fn take(&self, len: usize) -> String {
        let mut lines = self.lines.lock();
        let mut text = String::new();
        while let Some(line) = lines.front()
            && text.len() + line.len() <= len
        {
            text += line;
            lines.pop_front();
        }
        text
    }
}

/// `<time> [uid:0,gid:0,pid:1] getattr (2): OK <0.000012>`
fn line(done: Done<'_>, now: Timestamp) -> String {
    let Done {
        name,
        call,
        ino,
        errno,
        took,
    } = done;
    let outcome = if errno == 0 {
        "OK".to_owned()
    } else {
        std::io::Error::from_raw_os_error(errno).to_string()
    };
    format!(
        "{} [uid:{},gid:{},pid:{}] {name} ({ino}): {outcome} <{:.6}>\n",
        clock_time(now),
        call.uid,
        call.gid,
        call.pid,
        took.as_secs_f64()
    )
}

/// `2006.01.02 15:04:05.000000`, UTC.
fn clock_time(now: Timestamp) -> String {
    let time = jiff::Timestamp::new(now.secs, now.nanos as i32).unwrap_or_default();
    time.strftime("%Y.%m.%d %H:%M:%S%.6f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(call: &Call, errno: i32) -> Done<'_> {
        Done {
            name: "getattr",
            call,
            ino: Ino(2),
            errno,
            took: Duration::from_micros(12),
        }
    }

    fn now() -> Timestamp {
        Timestamp {
            secs: 1_136_214_245,
            nanos: 7_000,
        }
    }

    #[tokio::test]
    async fn a_listener_reads_whole_lines_of_what_comes_after_it() {
        let (operations, call) = (Operations::new(), Call::internal());
        operations.note(done(&call, 0), now);
        let listener = operations.listen();
        assert_eq!(listener.read(4096).await, NOTHING, "nothing came since");
        operations.note(done(&call, 0), now);
        operations.note(done(&call, 2), now);
        let first = "2006.01.02 15:04:05.000007 [uid:0,gid:0,pid:0] getattr (2): OK <0.000012>\n";
        assert_eq!(listener.read(first.len() + 3).await, first);
        let second = listener.read(4096).await;
        assert!(second.ends_with(b"(2): No such file or directory (os error 2) <0.000012>\n"));
        assert_eq!(operations.figures().0, 3);
        drop(listener);
        operations.note(done(&call, 0), now);
        assert!(!operations.heard.load(Ordering::Relaxed), "nobody listens");
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_lines() {
        let (operations, call) = (Operations::new(), Call::internal());
        let listener = operations.listen();
        for _ in 0..MOST_LINES + 5 {
            operations.note(done(&call, 0), now);
        }
        assert_eq!(listener.lines.lock().len(), MOST_LINES);
    }
}
