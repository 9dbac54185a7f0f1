//! A volume of its own for each test: engine, store and mount, all taken away at the end.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use carafe_testkit::{Etcd, Faulty, MariaDb, Postgres, Redis, S3, Server};
use tempfile::TempDir;

pub(crate) const CARAFE: &str = env!("CARGO_BIN_EXE_carafe");
/// How long a mount or its end may take before the test says that it hangs.
const PATIENCE: Duration = Duration::from_mins(1);
const PASSWORD: &str = "correct-horse";

/// An engine and a store that belong together in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    SqliteFile,
    RedisS3,
    PostgresFile,
    MariaDbFile,
    EtcdFile,
}

impl Pair {
    /// Those that every test runs on. The others share their code from the metadata
    /// client upwards.
    pub(crate) const ALL: [Self; 2] = [Self::SqliteFile, Self::RedisS3];
}

/// What happens to an engine's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It keeps its connections, and answers nobody.
    Hang,
    /// It is killed, and started again later.
    Stop,
}

/// A formatted volume, mounted or not.
pub(crate) struct Volume {
    url: String,
    peer_url: String,
    bucket: String,
    mounts: Vec<String>,
    scratch: TempDir,
    redis: Option<Redis>,
    /// A server of this volume's own.
    postgres: Option<Postgres>,
    s3: Option<S3>,
    reaper: Reaper,
}

impl Volume {
    pub(crate) fn formatted(pair: Pair) -> Self {
        Self::formatted_with(pair, &[])
    }

    /// With more options of `format`.
    pub(crate) fn formatted_with(pair: Pair, options: &[&str]) -> Self {
        let volume = Self::unformatted(pair);
        volume.carafe_format(options);
        volume
    }

    pub(crate) fn mounted(pair: Pair) -> Self {
        let mut volume = Self::formatted(pair);
        volume.mount(&[]);
        volume
    }

    /// On a Redis that flushes each change to its disk before it answers.
    pub(crate) fn mounted_on_safe_redis() -> Self {
        let mut volume = Self::unformatted(Pair::RedisS3);
        let flushed = ["--appendonly", "yes", "--appendfsync", "always"];
        let redis = Redis::start_with(&[&flushed[..], &["--requirepass", PASSWORD]].concat());
        volume.url = format!("redis://:{PASSWORD}@{}/1", redis.address());
        volume.redis = Some(redis);
        volume.watch();
        volume.carafe_format(&[]);
        volume.mount(&[]);
        volume
    }

    /// On a PostgreSQL of its own, which the test may take away.
    pub(crate) fn mounted_on_own_postgres() -> Self {
        let postgres = Postgres::start();
        let mut volume = Self::unformatted(Pair::SqliteFile);
        volume.url = postgres.fresh();
        volume.postgres = Some(postgres);
        volume.carafe_format(&[]);
        volume.mount(&[]);
        volume
    }

    /// The servers, before anybody has formatted.
    pub(crate) fn unformatted(pair: Pair) -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("carafe-mounted-")
            .tempdir()
            .unwrap();
        let at = scratch.path().display();
        let (mut redis, mut s3, mut peer_url) = (None, None, None);
        let mut bucket = format!("{at}/objects/");
        let url = match pair {
            Pair::SqliteFile => format!("sqlite3://{at}/meta.db"),
            Pair::RedisS3 => {
                let started =
                    Redis::start_with(&["--appendonly", "yes", "--requirepass", PASSWORD]);
                let url = format!("redis://:{PASSWORD}@{}/1", started.address());
                redis = Some(started);
                let store = s3.insert(S3::start("mounted"));
                bucket = format!("{}/mounted", store.endpoint());
                url
            }
            Pair::PostgresFile => Postgres::shared().fresh(),
            Pair::MariaDbFile => {
                let server = MariaDb::shared();
                let database = server.fresh();
                peer_url = Some(server.peer_url(&database));
                server.url(&database)
            }
            Pair::EtcdFile => Etcd::fresh_url(),
        };
        let reaper = Reaper::start(scratch.path(), servers(redis.as_ref(), s3.as_ref()));
        Self {
            peer_url: peer_url.unwrap_or_else(|| url.clone()),
            url,
            bucket,
            mounts: Vec::new(),
            scratch,
            redis,
            postgres: None,
            s3,
            reaper,
        }
    }

    fn carafe_format(&self, options: &[&str]) {
        run(
            CARAFE,
            &[
                &["format", &self.url, "mounted"],
                &self.store_arguments()[..],
                options,
            ]
            .concat(),
        );
    }

    /// The store's arguments of `format`, which the peer spells in the same way.
    pub(crate) fn store_arguments(&self) -> Vec<&str> {
        if self.redis.is_none() {
            return vec!["--storage", "file", "--bucket", &self.bucket];
        }
        let keys = [
            "--access-key",
            S3::ACCESS_KEY,
            "--secret-key",
            S3::SECRET_KEY,
        ];
        [&["--storage", "minio", "--bucket", &self.bucket][..], &keys].concat()
    }

    pub(crate) fn mount(&mut self, options: &[&str]) {
        let target = self.new_directory();
        let log = self.scratch("carafe.log");
        run(
            CARAFE,
            &[&["mount", "-d", "--log", &log, &self.url, &target], options].concat(),
        );
        self.mounts.insert(0, target);
    }

    /// Another client of the same volume; its path.
    pub(crate) fn second_mount(&mut self) -> String {
        let first = self.mounts.len();
        self.mount(&[]);
        let second = self.mounts.remove(0);
        self.mounts.insert(first, second.clone());
        second
    }

    /// A path below the mount.
    pub(crate) fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.mounts[0])
    }

    /// A path beside the mount.
    pub(crate) fn scratch(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }

    pub(crate) fn new_directory(&self) -> String {
        let target = self.scratch(&format!("mount-{}", self.mounts.len()));
        std::fs::create_dir_all(&target).unwrap();
        target
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL as the peer must have it.
    pub(crate) fn peer_url(&self) -> &str {
        &self.peer_url
    }

    pub(crate) fn bucket(&self) -> String {
        self.bucket.clone()
    }

    pub(crate) fn url_with_password(&self, password: &str) -> String {
        self.url.replace(PASSWORD, password)
    }

    /// Lets Redis execute no write for so long.
    pub(crate) fn pause_redis(&self, time: Duration) {
        let (port, millis) = (self.redis_port(), time.as_millis());
        shell(&format!(
            "redis-cli -p {port} -a {PASSWORD} --no-auth-warning CLIENT PAUSE {millis} WRITE"
        ));
    }

    /// How often Redis has read from its clients: what is asked in one trip comes in one
    /// read, if it is small.
    pub(crate) fn redis_reads(&self) -> u64 {
        let port = self.redis_port();
        let stats = shell(&format!(
            "redis-cli -p {port} -a {PASSWORD} --no-auth-warning INFO stats"
        ));
        let mut lines = stats.lines();
        let reads = lines.find_map(|line| line.strip_prefix("total_reads_processed:"));
        reads.unwrap().trim().parse().unwrap()
    }

    fn redis_port(&self) -> String {
        let address = self.redis.as_ref().unwrap().address();
        address.split_once(':').unwrap().1.to_owned()
    }

    /// Gives Redis another password, and ends all connections.
    pub(crate) fn change_password(&self, password: &str) {
        shell(&self.password_change(password));
    }

    /// Does so a second later, for a test that has files open then: a process that
    /// starts waits for their flush.
    pub(crate) fn change_password_soon(&self, password: &str) -> Child {
        let line = format!("sleep 1; {}", self.password_change(password));
        let mut shell = Command::new("sh");
        shell.args(["-ec", &line]).spawn().unwrap()
    }

    fn password_change(&self, password: &str) -> String {
        let port = self.redis_port();
        format!(
            "redis-cli -p {port} -a {PASSWORD} --no-auth-warning CONFIG SET requirepass {password} && \
             redis-cli -p {port} -a {password} --no-auth-warning CLIENT KILL TYPE normal",
        )
    }

    /// Fills a directory with entries `entry-<n>` of pipes, past all mounts: a million
    /// would take minutes through one.
    pub(crate) fn fill_directory(&self, ino: u64, count: usize) {
        let Some(redis) = &self.redis else {
            let database = self.url.trim_start_matches("sqlite3://");
            let last = count - 1;
            let numbers = format!(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
            );
            run(
                "sqlite3",
                &[
                    database,
                    &format!(
                        "BEGIN; {numbers} INSERT INTO jfs_edge (parent, name, inode, type) SELECT {ino}, cast('entry-' || i AS BLOB), 1000000000 + i, 4 FROM n; \
                 {numbers} INSERT INTO jfs_node SELECT 1000000000 + i, 4, 0, 420, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, {ino}, 0, 0 FROM n; COMMIT;",
                    ),
                ],
            );
            return;
        };
        let address = redis.address();
        let (_, port) = address.split_once(':').unwrap();
        let login = ["-p", port, "-n", "1", "-a", PASSWORD, "--no-auth-warning"];
        // A log that grows so fast would be rewritten beside the listing.
        let calm = ["CONFIG", "SET", "auto-aof-rewrite-percentage", "0"];
        run("redis-cli", &[&login[..], &calm].concat());
        // An attribute with type 4 and mode 0644, one link; a directory's entry of type 4.
        let script = format!(
            "local function be(n, len) local s = '' for _ = 1, len do s = string.char(n % 256) .. s n = math.floor(n / 256) end return s end \
             for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do local ino = 1000000000 + i \
             redis.call('HSET', 'd{ino}', 'entry-' .. i, string.char(4) .. be(ino, 8)) \
             redis.call('SET', 'i' .. string.format('%d', ino), string.char(0, 0x41, 0xa4) .. string.rep(string.char(0), 44) .. be(1, 4) .. string.rep(string.char(0), 12) .. be({ino}, 8) .. string.char(0)) end",
        );
        for first in (0..count).step_by(100_000) {
            let (from, to) = (
                first.to_string(),
                (count.min(first + 100_000) - 1).to_string(),
            );
            let fill = ["EVAL", &script, "0", &from, &to];
            run("redis-cli", &[&login[..], &fill].concat());
        }
    }

    /// The processes of the first mount's client: its supervisor and its worker.
    fn client(&self) -> (String, String) {
        let name = self.mounts[0].trim_matches('/').replace('/', "%2f");
        let supervisor = std::fs::read_to_string(format!("/run/carafe/{name}.pid")).unwrap();
        let supervisor = supervisor.trim().to_owned();
        let children = format!("/proc/{supervisor}/task/{supervisor}/children");
        let children = std::fs::read_to_string(children).unwrap();
        let worker = children.split_whitespace().next();
        let worker = worker.expect("a worker serves the mount").to_owned();
        (supervisor, worker)
    }

    /// The client's own memory, without the pool that it shares.
    pub(crate) fn client_memory(&self) -> u64 {
        let worker = self.client().1;
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib << 10
    }

    /// Where the volume's objects lie as files, whatever the store.
    pub(crate) fn objects(&self) -> String {
        match &self.s3 {
            Some(s3) => format!("{}/mounted/mounted", s3.path().display()),
            None => format!("{}mounted", self.bucket),
        }
    }

    /// Makes all objects old enough for those who look for leaked ones.
    pub(crate) fn age_objects(&self) {
        let objects = self.objects();
        shell(&format!(
            "find {objects} -type f -exec touch -d '3 hours ago' {{}} +"
        ));
    }

    /// Runs `carafe COMMAND META-URL ARGUMENTS…`, which must succeed; what it says.
    pub(crate) fn carafe(&self, command: &[&str], arguments: &[&str]) -> String {
        run(CARAFE, &[command, &[self.url.as_str()], arguments].concat())
    }

    /// The same for one that must find damage; what it says on both channels.
    pub(crate) fn carafe_finds(&self, command: &[&str], arguments: &[&str]) -> String {
        let all = [command, &[self.url.as_str()], arguments].concat();
        let output = Command::new(CARAFE).args(&all).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(6), "carafe {all:?}: {said}");
        said
    }

    /// Takes the store away, so that only caches can answer.
    pub(crate) fn hide_store(&self) {
        std::fs::rename(&self.bucket, self.scratch("hidden")).unwrap();
    }

    pub(crate) fn unmount(&mut self) {
        let target = self.mounts.remove(0);
        run(CARAFE, &["umount", &target]);
    }

    /// Ends the client with SIGTERM, whoever has files open, and waits for its end.
    pub(crate) fn terminate(&mut self) {
        let target = self.mounts.remove(0);
        let name = target.trim_matches('/').replace('/', "%2f");
        let pid = std::fs::read_to_string(format!("/run/carafe/{name}.pid")).unwrap();
        run("kill", &["-TERM", pid.trim()]);
        ended(pid.trim());
    }

    /// Kills the first mount's client, the worker alone or with its supervisor, and
    /// takes away what is left of the mount.
    pub(crate) fn kill(&mut self, with_supervisor: bool) {
        let (supervisor, worker) = self.client();
        let victims = [worker.as_str(), &supervisor];
        let victims = &victims[..=usize::from(with_supervisor)];
        run("kill", &[&["-KILL"], victims].concat());
        ended(&supervisor);
        ended(&worker);
        let target = self.mounts.remove(0);
        if with_supervisor {
            // Between the two deaths it may have done so itself.
            shell(&format!(
                "umount -l '{target}' || ! mountpoint -q '{target}'"
            ));
        }
    }

    /// Does to the engine's server what a fault does, for so long.
    pub(crate) fn endure(&mut self, fault: Fault, time: Duration) {
        let database = self.database();
        match fault {
            Fault::Hang => {
                database.hang();
                std::thread::sleep(time);
                database.resume();
            }
            Fault::Stop => {
                database.stop();
                std::thread::sleep(time);
                database.start_again();
            }
        }
        self.watch();
    }

    /// Has a reaper that knows the processes of now.
    fn watch(&mut self) {
        let servers = servers(self.redis.as_ref(), self.s3.as_ref());
        let next = Reaper::start(self.scratch.path(), servers);
        std::mem::replace(&mut self.reaper, next).dismiss();
    }

    fn database(&mut self) -> &mut dyn Faulty {
        match (&mut self.redis, &mut self.postgres) {
            (Some(redis), _) => redis,
            (None, Some(postgres)) => postgres,
            (None, None) => panic!("a file does not fail like a server"),
        }
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&run(CARAFE, &["status", &self.url])).unwrap()
    }
}

/// The servers that would outlive this test if it were killed.
fn servers(redis: Option<&Redis>, s3: Option<&S3>) -> Vec<u32> {
    let servers = [redis.map(Redis::server), s3.map(S3::server)];
    servers.into_iter().flatten().map(Server::pid).collect()
}

/// Waits until a process is gone, or only its parent has not noticed.
fn ended(pid: &str) {
    let deadline = Instant::now() + PATIENCE;
    while Path::new(&format!("/proc/{pid}/exe")).exists() {
        assert!(Instant::now() < deadline, "process {pid} ends");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let mut clean = true;
        for target in &self.mounts {
            let done = Command::new(CARAFE)
                .args(["umount", "--force", "--timeout", "20", target])
                .output()
                .unwrap();
            let end = String::from_utf8_lossy(&done.stderr).into_owned();
            if !done.status.success() {
                eprintln!("umount {target}: {end}");
                clean = false;
            }
        }
        if clean {
            self.reaper.dismiss();
        }
        if std::thread::panicking() {
            eprintln!(
                "{}",
                std::fs::read_to_string(self.scratch("carafe.log")).unwrap_or_default()
            );
        }
    }
}

/// Takes away what a test that is killed leaves: a process in a group of its own that
/// waits for the end of its input, which comes with the test's, whatever ends that. It
/// does not look into mounts, whose database may be gone: a program that looks into all
/// mounts of the machine, as some stressors do, would wait for each that is left.
struct Reaper(Child);

impl Reaper {
    const SCRIPT: &str = r#"read -r dismissed && exit
        for at in "$1"/mount-* "$1"/peer; do
            case $at in *\**) continue ;; esac
            "$0" umount --force --timeout 5 "$at"
            umount -l "$at"
        done
        scratch=$1; shift
        [ $# = 0 ] || kill -9 "$@"
        rm -rf --one-file-system "$scratch""#;

    fn start(scratch: &Path, servers: Vec<u32>) -> Self {
        let child = Command::new("sh")
            .args(["-c", Self::SCRIPT, CARAFE])
            .arg(scratch)
            .args(servers.iter().map(u32::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Self(child.expect("a shell starts"))
    }

    /// Nothing is left to take away.
    fn dismiss(&mut self) {
        let input = self.0.stdin.take();
        let told = input.map(|mut input| input.write_all(b"dismissed\n"));
        if let Some(Err(error)) = told {
            eprintln!("the reaper is gone: {error}");
        }
        let _ = self.0.wait();
    }
}

/// Runs a program that must succeed; its output.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(program: S, arguments: &[&str]) -> String {
    let name = program.as_ref().to_string_lossy().into_owned();
    let output = Command::new(program).args(arguments).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap_or_else(|error| panic!("{name}: {error}: run `make tools`"));
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(
        status.success(),
        "{name} {arguments:?}: {status}\n{stdout}\n{stderr}"
    );
    stdout.into_owned()
}

/// Runs a line of shell that must succeed.
pub(crate) fn shell(line: &str) -> String {
    run("sh", &["-ec", line])
}

/// Runs `carafe` with arguments that must fail; what it says.
pub(crate) fn carafe_fails(arguments: &[&str]) -> String {
    let output = Command::new(CARAFE).args(arguments).output().unwrap();
    assert!(!output.status.success(), "carafe {arguments:?} must fail");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A tree with what trees have: files of many sizes, links, modes, times, odd names.
pub(crate) fn make_tree(at: &str) {
    shell(&format!(
        "mkdir -p '{at}/a/b/c' '{at}/with space' && cd '{at}' && \
         for n in 0 1 4095 4096 65537 1048577 5000000; do head -c $n /dev/urandom > a/file-$n; done && \
         for n in $(seq 40); do echo $n > a/b/small-$n; done && \
         ln a/file-4096 a/b/hard && ln -s ../file-1 a/b/soft && ln -s /nowhere a/dangling && mkfifo a/pipe && \
         chmod 640 a/file-1 && chmod 4755 a/file-0 && chmod 1777 'with space' && \
         touch -d '2001-02-03 04:05:06.789' a/file-4095 && touch \"$(printf 'with space/caf\\303\\251 \\001')\" && \
         truncate -s 100M a/sparse",
    ));
}

/// What a tree is: names, types, modes, owners, times, links, and contents.
pub(crate) fn fingerprint(at: &str) -> String {
    shell(&format!(
        "cd '{at}' && find . -not -type d -printf '%p %y %m %u %g %s %T@ %n %l\\n' | LC_ALL=C sort && \
         find . -type d -printf '%p %y %m %u %g %T@\\n' | LC_ALL=C sort && \
         find . -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum",
    ))
}
