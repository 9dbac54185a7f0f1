//! A Redis Cluster.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    free_port,
    kept::{Kept, run},
};

/// Masters that share the slots, on one machine.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
    /// The last number that a volume got.
    last: AtomicU32,
}

#[derive(Debug)]
struct Node {
    port: u16,
    _server: Kept,
}

/// The least that a cluster can have.
const NODES: usize = 3;

impl RedisCluster {
    /// One for all tests of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts masters without replicas, and waits until they agree.
    pub fn start() -> Self {
        let cluster = Self {
            nodes: (0..NODES).map(|_| Node::start()).collect(),
            last: AtomicU32::new(0),
        };
        let create = ["--cluster", "create"].map(str::to_owned);
        let yes = ["--cluster-yes".to_owned()];
        let addresses = cluster.nodes.iter().map(Node::address);
        let arguments = create.into_iter().chain(addresses).chain(yes);
        run(Command::new("redis-cli").args(arguments));
        cluster.wait();
        cluster
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        let agrees = |node: &Node| node.cli(&["cluster", "info"]).contains("cluster_state:ok");
        while !self.nodes.iter().all(agrees) {
            assert!(
                Instant::now() < until,
                "the cluster's nodes do not agree after 20 s"
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// The URL of a volume that no test has had.
    pub fn fresh_url(&self) -> String {
        self.fresh_url_by(&self.nodes)
    }

    /// The same, by one node's address.
    pub fn fresh_url_of_one(&self) -> String {
        self.fresh_url_by(&self.nodes[..1])
    }

    fn fresh_url_by(&self, nodes: &[Node]) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
        format!("redis://{}/{number}", addresses.join(","))
    }

    /// Moves all slots of the first node to the second, or back.
    pub fn move_slots(&self, back: bool) {
        let ids: Vec<_> = self.nodes[..2]
            .iter()
            .map(|node| node.cli(&["cluster", "myid"]).trim().to_owned())
            .collect();
        let (from, to) = if back { (1, 0) } else { (0, 1) };
        let mut reshard = Command::new("redis-cli");
        reshard.args(["--cluster", "reshard", &self.nodes[0].address()]);
        reshard.args(["--cluster-from", &ids[from], "--cluster-to", &ids[to]]);
        reshard.args(["--cluster-slots", "16384", "--cluster-yes"]);
        run(&mut reshard);
    }
}

impl Node {
    fn start() -> Self {
        let dir: PathBuf = tempfile::Builder::new()
            .prefix("carafe-")
            .tempdir()
            .unwrap_or_else(|error| panic!("no temporary directory: {error}"))
            .keep();
        let (port, bus) = (free_port(), free_port());
        let mut command = ["redis-server", "--bind", "127.0.0.1", "--save", ""]
            .map(str::to_owned)
            .to_vec();
        command.extend(["--appendonly", "yes", "--cluster-enabled", "yes"].map(str::to_owned));
        command.extend(["--port".to_owned(), port.to_string()]);
        command.extend(["--cluster-port".to_owned(), bus.to_string()]);
        command.extend(["--dir".to_owned(), dir.display().to_string()]);
        let is_up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        Self {
            port,
            _server: Kept::start(&command, &dir, is_up),
        }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        run(Command::new("redis-cli")
            .args(["-p", &port])
            .args(arguments))
    }
}
