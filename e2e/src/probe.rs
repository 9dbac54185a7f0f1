//! What busybox cannot do in a static build: resolve a name and connect.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Connects to `host:port` and prints the address that answered.
pub fn run(address: &str) -> Result<()> {
    let addresses = address
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {address}"))?;
    for candidate in addresses {
        if TcpStream::connect_timeout(&candidate, Duration::from_secs(3)).is_ok() {
            println!("{candidate}");
            return Ok(());
        }
    }
    bail!("nothing answers at {address}")
}
