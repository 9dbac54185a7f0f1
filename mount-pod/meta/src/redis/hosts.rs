//! The hosts that a URL names, as JuiceFS reads them: one server, a **master** that
//! sentinels watch, or the nodes of a **cluster**.

use std::fmt;

/// A server's host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

/// How the server is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    /// It is this one.
    One(Host),
    /// It is the master of that name, which any of the sentinels knows.
    Sentinel {
        master: String,
        sentinels: Vec<Host>,
    },
    /// It is the node that has the volume's slot, which any of these nodes knows.
    Cluster(Vec<Host>),
}

/// What a server and a node of a cluster listen on.
const PORT: u16 = 6379;
/// The same of a sentinel.
const SENTINEL_PORT: u16 = 26379;

/// Reads `host:port`; `master,sentinel,sentinel:port`, where sentinels without a port
/// have the last one's; or `node:port,node:port`.
pub(super) fn parse(text: &str) -> Result<Hosts, String> {
    let Some((first, rest)) = text.split_once(',') else {
        return Ok(Hosts::One(host(text, PORT)?));
    };
    if first.contains(':') {
        let nodes = text.split(',').map(|node| host(node, PORT));
        return Ok(Hosts::Cluster(nodes.collect::<Result<_, _>>()?));
    }
    if first.is_empty() {
        return Err("the sentinels' master has no name".into());
    }
    let last = rest.rsplit(',').next().unwrap_or_default();
    let port = host(last, SENTINEL_PORT)?.port;
    let sentinels = rest.split(',').map(|sentinel| host(sentinel, port));
    Ok(Hosts::Sentinel {
        master: first.to_owned(),
        sentinels: sentinels.collect::<Result<_, _>>()?,
    })
}

/// `name`, `name:port`, `[address]` or `[address]:port`.
fn host(text: &str, default: u16) -> Result<Host, String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').unwrap_or((bracketed, "")),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if name.is_empty() {
        return Err("there is no host in it".into());
    }
    let port = match port.strip_prefix(':') {
        None | Some("") => default,
        Some(port) => port
            .parse()
            .map_err(|_| format!("the port of {name} is not a number up to 65535"))?,
    };
    Ok(Host {
        name: name.to_owned(),
        port,
    })
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.name, self.port)
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |hosts: &[Host]| {
            let texts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
            texts.join(",")
        };
        match self {
            Self::One(host) => write!(formatter, "{host}"),
            Self::Sentinel { master, sentinels } => {
                write!(formatter, "{master},{}", list(sentinels))
            }
            Self::Cluster(nodes) => write!(formatter, "{}", list(nodes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_juicefs_reads_them() {
        for (text, expected) in [
            ("host", "host:6379"),
            ("host:7000", "host:7000"),
            ("[::1]:7000", "::1:7000"),
            ("[::1]", "::1:6379"),
            ("master,a,b", "master,a:26379,b:26379"),
            ("master,a,b:5000", "master,a:5000,b:5000"),
            ("master,a:1,b:5000", "master,a:1,b:5000"),
            ("a:7000,b:7001,c", "a:7000,b:7001,c:6379"),
        ] {
            let hosts = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(hosts.to_string(), expected, "{text}");
        }
        let sentinel = parse("master,a").unwrap();
        assert!(matches!(sentinel, Hosts::Sentinel { .. }), "{sentinel:?}");
        let cluster = parse("a:1,b:2").unwrap();
        assert!(matches!(cluster, Hosts::Cluster(_)), "{cluster:?}");
    }

    #[test]
    fn what_names_no_host_says_so() {
        for text in ["", ":7000", "host:99999", ",a:1", "master,", "a:1,,b:2"] {
            assert!(parse(text).is_err_and(|error| !error.is_empty()), "{text}");
        }
    }
}
