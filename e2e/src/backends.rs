//! The servers that volumes live on, beside the cluster: Redis with a password
//! and an append-only file, PostgreSQL, and an S3 server over a directory.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::run::Run;
use crate::sandbox::Sandbox;
use crate::shell;
use crate::tools::Tools;

/// The namespace and the name of the Secret that says where the back ends are.
/// Who runs the tests on a cluster of their own makes it there.
pub const NAMESPACE: &str = "carafe-e2e";
/// See [`NAMESPACE`].
pub const SECRET: &str = "backends";

/// Where the back ends are and how to enter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Backends {
    /// `redis://:password@host:port`, without a database number.
    pub redis: String,
    /// `postgres://user:password@host:port`, without a database name.
    pub postgres: String,
    /// `http://host:port` of the S3 server.
    pub s3: String,
    /// A bucket that exists.
    pub bucket: String,
    /// The S3 server's access key.
    pub access_key: String,
    /// The S3 server's secret key.
    pub secret_key: String,
}

impl Backends {
    fn new(run: &Run) -> Result<Self> {
        let (host, password) = (run.host_address(), random_word()?);
        Ok(Self {
            redis: format!("redis://:{password}@{host}:6379"),
            postgres: format!("postgres://postgres:{password}@{host}:5432"),
            s3: format!("http://{host}:9000"),
            bucket: "carafe".into(),
            access_key: "carafe-e2e".into(),
            secret_key: random_word()?,
        })
    }

    /// Those of a run on this machine.
    pub fn of(run: &Run) -> Result<Self> {
        let file = run.path("backends.json");
        let text = fs::read(&file)
            .with_context(|| format!("cannot read {}; is the cluster up?", file.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The one password of Redis and PostgreSQL.
    pub fn password(&self) -> Result<String> {
        let url = self
            .redis
            .split_once("://:")
            .and_then(|(_, rest)| rest.split_once('@'));
        Ok(url.context("the Redis URL has no password")?.0.to_owned())
    }
}

fn random_word() -> Result<String> {
    Ok(
        shell::run(&mut shell::command("openssl", ["rand", "-hex", "16"]))?
            .trim()
            .to_owned(),
    )
}

/// The directory whose files are the objects.
pub fn objects(run: &Run) -> PathBuf {
    run.path("s3")
}

/// Starts all back ends and waits until they take connections.
pub fn start(run: &Run, sandbox: &Sandbox, tools: &Tools) -> Result<Backends> {
    let backends = Backends::new(run)?;
    fs::write(
        run.path("backends.json"),
        serde_json::to_vec_pretty(&backends)?,
    )?;
    start_redis(run, sandbox, &backends)?;
    start_s3(run, sandbox, tools, &backends)?;
    start_postgres(run, sandbox, &backends)?;
    for (name, port) in [("redis", 6379), ("s3", 9000), ("postgres", 5432)] {
        let address = SocketAddr::from((run.host_address(), port));
        shell::wait_until(name, Duration::from_mins(1), || {
            TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            Ok(())
        })
        .with_context(|| shell::tail_of_file(&sandbox.log(name), 15))?;
    }
    Ok(backends)
}

fn start_redis(run: &Run, sandbox: &Sandbox, backends: &Backends) -> Result<()> {
    let dir = run.path("redis");
    fs::create_dir_all(&dir)?;
    let config = format!(
        "bind {}\nport 6379\nrequirepass {}\ndir {}\nappendonly yes\nappendfsync everysec\nsave \"\"\ndatabases 256\nmaxmemory-policy noeviction\n",
        run.host_address(),
        backends.password()?,
        dir.display()
    );
    // A file, so that the password is on no command line.
    let file = dir.join("redis.conf");
    fs::write(&file, config)?;
    sandbox.spawn(
        "redis",
        "redis-server",
        &[file.to_string_lossy().into_owned()],
    )
}

fn start_s3(run: &Run, sandbox: &Sandbox, tools: &Tools, backends: &Backends) -> Result<()> {
    let dir = objects(run);
    fs::create_dir_all(dir.join(&backends.bucket))?;
    let users = run.path("s3-users");
    fs::create_dir_all(&users)?;
    let program = tools.program("versitygw")?;
    let args = [
        "ROOT_ACCESS_KEY=".to_owned() + &backends.access_key,
        "ROOT_SECRET_KEY=".to_owned() + &backends.secret_key,
        program.to_string_lossy().into_owned(),
        "--port".into(),
        format!("{}:9000", run.host_address()),
        "--iam-dir".into(),
        users.to_string_lossy().into_owned(),
        "posix".into(),
        dir.to_string_lossy().into_owned(),
    ];
    sandbox.spawn("s3", "env", &args)
}

/// PostgreSQL refuses to run as root.
fn start_postgres(run: &Run, sandbox: &Sandbox, backends: &Backends) -> Result<()> {
    let programs = postgres_programs()?;
    let dir = run.path("postgres");
    fs::create_dir_all(&dir)?;
    let password = dir.join("password");
    fs::write(&password, backends.password()?)?;
    shell::run(shell::command("chown", ["-R", "postgres:"]).arg(&dir))?;
    let data = dir.join("data");
    let mut initdb = shell::command("runuser", ["-u", "postgres", "--"]);
    initdb.arg(programs.join("initdb")).args([
        "--no-sync",
        "--auth=scram-sha-256",
        "--username=postgres",
        "--locale=C.UTF-8",
    ]);
    shell::run(
        initdb
            .arg("--pwfile")
            .arg(&password)
            .arg("-D")
            .arg(&data)
            .current_dir("/"),
    )?;
    let args = [
        "-u".to_owned(),
        "postgres".into(),
        "--".into(),
        programs.join("postgres").to_string_lossy().into_owned(),
        "-D".into(),
        data.to_string_lossy().into_owned(),
        "-h".into(),
        run.host_address().to_string(),
        "-k".into(),
        String::new(),
    ];
    sandbox.spawn("postgres", "runuser", &args)
}

fn postgres_programs() -> Result<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed; run `make tools`")?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|programs| programs.join("postgres").exists())
        .collect();
    versions.sort();
    match versions.pop() {
        Some(programs) => Ok(programs),
        None => bail!("PostgreSQL is not installed; run `make tools`"),
    }
}
