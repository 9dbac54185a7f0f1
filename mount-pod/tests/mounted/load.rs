//! A load that knows what must be there afterwards.
//!
//! A **writer** appends **records** to a file of its own and syncs it now and then; a
//! record's bytes follow from its writer and its number. What a successful fsync
//! covers is **acknowledged**. The **clerk** makes, moves and removes names in
//! **steps**; which names there are follows from the number of steps done. A
//! **reader** compares what it finds of the writers' files meanwhile.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

/// A record's length; no multiple of any block or page.
const RECORD: usize = 5003;
const WRITERS: u64 = 3;
/// Records between two syncs of a writer.
const SYNC: u64 = 3;

/// What all of a load's threads share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: [AtomicU64; WRITERS as usize],
    /// The longest system call, in milliseconds.
    longest: AtomicU64,
    /// Errors are met with another attempt.
    stubborn: bool,
}

/// A load under way.
pub(crate) struct Load {
    dir: String,
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<io::Result<()>>>,
    clerk: JoinHandle<(u64, io::Result<()>)>,
    readers: Vec<JoinHandle<(u64, io::Result<()>)>>,
}

/// What a load did, and what must be there now.
pub(crate) struct Done {
    acknowledged: Vec<u64>,
    /// The clerk's finished steps.
    steps: u64,
    /// A step of the clerk was cut off: it may have been done.
    torn: bool,
    /// What ended a thread before it was told to stop.
    pub(crate) failures: Vec<io::Error>,
    /// The longest that a system call took.
    pub(crate) longest: Duration,
    /// Files that readers compared.
    pub(crate) compared: u64,
}

impl Load {
    /// Starts one in the new directory `below` of a mount, with a reader on each of
    /// `mounts`, the first of which is written through. A `stubborn` one tries again
    /// what failed; otherwise a thread ends with its first error.
    pub(crate) fn start(mounts: &[String], below: &str, stubborn: bool) -> Self {
        let at = |mount: &String| format!("{}/{below}", mount.trim_end_matches('/'));
        let dir = at(&mounts[0]);
        fs::create_dir_all(format!("{dir}/names")).unwrap();
        let shared = Arc::new(Shared {
            stubborn,
            ..Shared::default()
        });
        let writers = (0..WRITERS).map(|writer| {
            let (path, shared) = (path(&dir, writer), Arc::clone(&shared));
            spawn(move || write(&path, writer, &shared))
        });
        let writers = writers.collect();
        let (names, of_clerk) = (format!("{dir}/names"), Arc::clone(&shared));
        let clerk = spawn(move || keep_names(&names, &of_clerk));
        let readers = mounts.iter().map(at).map(|dir| {
            let shared = Arc::clone(&shared);
            spawn(move || read(&dir, &shared))
        });
        let readers = readers.collect();
        Self {
            dir,
            shared,
            writers,
            clerk,
            readers,
        }
    }

    /// Waits until every writer had another fsync acknowledged.
    pub(crate) fn advances(&self, patience: Duration) {
        let all = || {
            self.shared
                .acknowledged
                .iter()
                .map(|one| one.load(Ordering::SeqCst))
        };
        let before: Vec<_> = all().collect();
        let until = Instant::now() + patience;
        while all().zip(&before).any(|(now, before)| now == *before) {
            assert!(Instant::now() < until, "{}: all writers advance", self.dir);
            sleep(Duration::from_millis(10));
        }
    }

    /// Ends it.
    pub(crate) fn finish(self) -> Done {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut failures = Vec::new();
        for writer in self.writers {
            failures.extend(writer.join().unwrap().err());
        }
        let (steps, end) = self.clerk.join().unwrap();
        let torn = end.is_err();
        failures.extend(end.err());
        let mut compared = 0;
        for reader in self.readers {
            let (number, end) = reader.join().unwrap();
            compared += number;
            failures.extend(end.err());
        }
        let acknowledged = self.shared.acknowledged.iter();
        Done {
            acknowledged: acknowledged.map(|one| one.load(Ordering::SeqCst)).collect(),
            steps,
            torn,
            failures,
            longest: Duration::from_millis(self.shared.longest.load(Ordering::SeqCst)),
            compared,
        }
    }
}

impl Done {
    /// Compares with what `dir` has now: no acknowledged record is missing, no byte is
    /// wrong, and names are those of the steps.
    pub(crate) fn verify(&self, dir: &str) {
        let compared = std::thread::scope(|scope| {
            let mine = scope.spawn(|| {
                unshare_files();
                self.compare(dir);
            });
            mine.join()
        });
        if let Err(panic) = compared {
            std::panic::resume_unwind(panic);
        }
    }

    fn compare(&self, dir: &str) {
        for (writer, acknowledged) in self.acknowledged.iter().enumerate() {
            let path = path(dir, writer as u64);
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            compare(&path, writer as u64, &bytes, *acknowledged);
        }
        let found = list(&format!("{dir}/names"));
        let expected = names_after(self.steps);
        assert!(
            found == expected || self.torn && found == names_after(self.steps + 1),
            "{dir}: after {} steps there is {found:?} and should be {expected:?}",
            self.steps
        );
    }
}

impl Shared {
    /// Does something, again and again if it is stubborn, and notes how long it takes.
    fn attempt<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            let began = Instant::now();
            let answer = work();
            let took = began.elapsed().as_millis() as u64;
            self.longest.fetch_max(took, Ordering::SeqCst);
            match answer {
                Err(_) if self.stubborn && self.goes_on() => {
                    sleep(Duration::from_millis(50));
                }
                answer => return answer,
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }
}

fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(move || {
        unshare_files();
        work()
    })
}

/// Gives this thread a table of open files of its own: a process that is started
/// meanwhile has those of the others open for a moment, which keeps a mount busy, and
/// must close them first, which waits for a flush.
fn unshare_files() {
    #[expect(unsafe_code, reason = "a system call without a safe wrapper")]
    // SAFETY: only this thread uses the descriptors that it opens from here on.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }.unwrap();
}

fn path(dir: &str, writer: u64) -> String {
    format!("{dir}/records-{writer}")
}

/// The bytes of a record.
fn record(writer: u64, number: u64) -> Vec<u8> {
    let seed = (writer << 32 | number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let bytes = (0..RECORD as u64).map(|at| (seed >> (at % 8 * 8)) as u8 ^ (at >> 3) as u8 | 1);
    bytes.collect()
}

fn write(path: &str, writer: u64, shared: &Shared) -> io::Result<()> {
    let mut file = shared.attempt(|| File::options().append(true).create(true).open(path))?;
    let mut number = 0;
    while shared.goes_on() {
        for _ in 0..SYNC {
            let bytes = record(writer, number);
            let mut left = &bytes[..];
            while !left.is_empty() {
                let written = shared.attempt(|| file.write(left))?;
                left = &left[written..];
            }
            number += 1;
        }
        shared.attempt(|| file.sync_all())?;
        shared.acknowledged[writer as usize].store(number, Ordering::SeqCst);
    }
    Ok(())
}

/// Every byte of the file must be its writer's, and no acknowledged one missing.
fn compare(path: &str, writer: u64, bytes: &[u8], acknowledged: u64) {
    let least = acknowledged as usize * RECORD;
    assert!(
        bytes.len() >= least,
        "{path} has {} bytes, and {least} were acknowledged",
        bytes.len()
    );
    for (number, found) in bytes.chunks(RECORD).enumerate() {
        let expected = record(writer, number as u64);
        let wrong = found.iter().zip(&expected).position(|(a, b)| a != b);
        assert!(
            wrong.is_none(),
            "{path}: record {number} of {acknowledged} acknowledged is wrong from byte {wrong:?} on"
        );
    }
}

/// Compares the writers' files over and over; how many it saw, and what ended it.
fn read(dir: &str, shared: &Shared) -> (u64, io::Result<()>) {
    let mut compared = 0;
    while shared.goes_on() {
        for (writer, acknowledged) in shared.acknowledged.iter().enumerate() {
            sleep(Duration::from_millis(20));
            let least = acknowledged.load(Ordering::SeqCst);
            if least == 0 {
                continue;
            }
            let path = path(dir, writer as u64);
            match shared.attempt(|| fs::read(&path)) {
                Ok(bytes) => compare(&path, writer as u64, &bytes, least),
                Err(error) => return (compared, Err(error)),
            }
            compared += 1;
        }
    }
    (compared, Ok(()))
}

/// The names of `directory`.
fn list(directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// One change of names: step `number` of file `number / 4`.
enum Step {
    Create(u64),
    Rename(u64),
    MakeDir(u64),
    /// Of the file three before, and of its directory.
    Remove(u64),
}

impl Step {
    fn of(number: u64) -> Self {
        let file = number / 4;
        match number % 4 {
            0 => Self::Create(file),
            1 => Self::Rename(file),
            2 => Self::MakeDir(file),
            _ => Self::Remove(file.wrapping_sub(3)),
        }
    }

    /// Takes it in a directory. If it may have been done before, its trace will do.
    fn take(&self, dir: &str, again: bool) -> io::Result<()> {
        let at = |kind: &str, file: &u64| format!("{dir}/{kind}-{file}");
        let done = match self {
            Self::Create(file) => File::create(at("new", file)).map(|_| ()),
            Self::Rename(file) => fs::rename(at("new", file), at("moved", file)),
            Self::MakeDir(file) => fs::create_dir(at("dir", file)),
            Self::Remove(file) if *file > u64::MAX / 2 => Ok(()),
            Self::Remove(file) => fs::remove_file(at("moved", file)),
        };
        match done.as_ref().map_err(io::Error::kind) {
            Err(io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) if again => Ok(()),
            _ => done,
        }
    }

    fn apply(&self, names: &mut BTreeSet<String>) {
        match self {
            Self::Create(file) => names.insert(format!("new-{file}")),
            Self::Rename(file) => {
                names.remove(&format!("new-{file}"));
                names.insert(format!("moved-{file}"))
            }
            Self::MakeDir(file) => names.insert(format!("dir-{file}")),
            Self::Remove(file) => names.remove(&format!("moved-{file}")),
        };
    }
}

/// The names that so many steps leave.
fn names_after(steps: u64) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    (0..steps).for_each(|number| Step::of(number).apply(&mut names));
    names
}

/// Takes steps until told to stop; how many were done, and what ended them.
fn keep_names(dir: &str, shared: &Shared) -> (u64, io::Result<()>) {
    let mut steps = 0;
    while shared.goes_on() {
        let (step, mut again) = (Step::of(steps), false);
        let done = shared.attempt(|| step.take(dir, std::mem::replace(&mut again, true)));
        if let Err(error) = done {
            return (steps, Err(error));
        }
        steps += 1;
    }
    (steps, Ok(()))
}
