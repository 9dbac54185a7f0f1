//! What a URL names: a place, and a login for it.

use std::{path::PathBuf, time::Duration};

use carafe_types::Secret;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo,
    RedisResult, TlsCertificates, aio::MultiplexedConnection,
};
use url::Url;

use super::{
    hosts::{self, Host, Hosts},
    login::{Login, log_in},
};
use crate::{
    ConnectError,
    address::{given, percent},
};

/// Where and how, as the URL says.
#[derive(Clone, PartialEq)]
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) login: Login,
    /// The sentinels'.
    pub(super) sentinel_login: Login,
    pub(super) database: i64,
    tls: Option<Tls>,
    /// The place without secrets, for people.
    pub(super) name: String,
}

/// Where the server is.
#[derive(Clone, PartialEq)]
pub(super) enum Place {
    /// Behind a Unix socket.
    Socket(PathBuf),
    /// Where these lead.
    Hosts(Hosts),
}

/// How a connection is encrypted; certificates and keys are what their files hold.
#[derive(Clone, Default, PartialEq)]
struct Tls {
    /// The client's certificate and its key.
    client: Option<(Vec<u8>, Vec<u8>)>,
    root: Option<Vec<u8>>,
    /// Whoever answers is trusted.
    insecure: bool,
}

impl Target {
    /// What stands before the keys of the volume there: in a cluster its slot's tag.
    pub(super) fn prefix(&self) -> Vec<u8> {
        match &self.place {
            Place::Hosts(Hosts::Cluster(_)) => format!("{{{}}}", self.database).into_bytes(),
            _ => Vec::new(),
        }
    }

    /// The same place, of which one node may have been named, and which turned out to be
    /// a cluster. A socket says nothing of the other nodes.
    pub(super) fn into_cluster(mut self) -> Result<Self, ConnectError> {
        self.place = match self.place {
            Place::Hosts(Hosts::One(node)) => Place::Hosts(Hosts::Cluster(vec![node])),
            Place::Hosts(cluster @ Hosts::Cluster(_)) => Place::Hosts(cluster),
            Place::Hosts(Hosts::Sentinel { .. }) | Place::Socket(_) => {
                return Err(bad(
                    "this is a node of a Redis Cluster: name it by host and port",
                ));
            }
        };
        Ok(self)
    }

    /// A new connection to one of its servers, logged in. What is asked later has
    /// deadlines of its own.
    pub(super) async fn open(
        &self,
        address: ConnectionAddr,
        login: &Login,
        patience: Duration,
    ) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(None);
        let client = self.client(address)?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        log_in(&mut connection, login).await?;
        Ok(connection)
    }

    /// A client without the login: a refused one is told apart better by asking for it
    /// ourselves.
    fn client(&self, address: ConnectionAddr) -> RedisResult<Client> {
        let info = address.into_connection_info()?;
        let Some(Tls { client, root, .. }) = self.tls.clone() else {
            return Client::open(info);
        };
        let client_tls = client.map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        });
        let certificates = TlsCertificates {
            client_tls,
            root_cert: root,
        };
        Client::build_with_tls(info, certificates)
    }

    /// How a host of this place is reached.
    pub(super) fn address(&self, host: &Host) -> ConnectionAddr {
        let Host { name, port } = host.clone();
        match &self.tls {
            None => ConnectionAddr::Tcp(name, port),
            Some(tls) => ConnectionAddr::TcpTls {
                host: name,
                port,
                insecure: tls.insecure,
                tls_params: None,
            },
        }
    }
}

/// A URL in parts; the hosts apart, since several of them are no URL's.
struct Parts {
    hosts: String,
    /// With one host instead of theirs.
    url: Url,
}

impl Parts {
    fn of(text: &str) -> Result<Self, ConnectError> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let (authority, behind) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let host = if scheme == "unix" { "" } else { "host" };
        let at = if login.is_empty() { "" } else { "@" };
        let url = Url::parse(&format!("{scheme}://{login}{at}{host}{behind}"));
        Ok(Self {
            hosts: hosts.to_owned(),
            url: url.map_err(|error| bad(&error.to_string()))?,
        })
    }

    fn login(&self, password: Option<&Secret>) -> Login {
        let user = Some(percent(self.url.username())).filter(|user| !user.is_empty());
        let password = given(password, self.url.password().map(percent));
        Login { user, password }
    }

    fn option(&self, name: &str) -> Option<String> {
        let mut pairs = self.url.query_pairs();
        let pair = pairs.find(|(key, _)| key.replace('_', "-") == name);
        pair.map(|(_, value)| value.into_owned())
    }

    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, ConnectError> {
        let read =
            |path: String| std::fs::read(&path).map_err(|error| bad(&format!("{path}: {error}")));
        self.option(name).map(read).transpose()
    }

    fn database(&self) -> Result<i64, ConnectError> {
        let path = self.url.path().trim_matches('/');
        let database = if path.is_empty() { Ok(0) } else { path.parse() };
        database.map_err(|_| bad("the path is not a database's number, as in redis://host:6379/1"))
    }

    fn tls(&self) -> Result<Option<Tls>, ConnectError> {
        if self.url.scheme() != "rediss" {
            return Ok(None);
        }
        let client = match (self.file("tls-cert-file")?, self.file("tls-key-file")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(bad("tls-cert-file and tls-key-file go together")),
        };
        let insecure = self.option("insecure-skip-verify");
        Ok(Some(Tls {
            client,
            root: self.file("tls-ca-cert-file")?,
            insecure: insecure.is_some_and(|value| !value.is_empty()),
        }))
    }
}

/// Reads the URL as JuiceFS reads it. No error repeats it: it may hold a password.
pub(super) fn parse(url: &str, password: Option<&Secret>) -> Result<Target, ConnectError> {
    let parts = Parts::of(url)?;
    let login = parts.login(password);
    if parts.url.scheme() == "unix" {
        return socket(&parts, login);
    }
    let hosts = hosts::parse(&parts.hosts).map_err(|error| bad(&error))?;
    let database = parts.database()?;
    Ok(Target {
        name: format!("{}://{hosts}/{database}", parts.url.scheme()),
        place: Place::Hosts(hosts),
        login,
        sentinel_login: Login::default(),
        database,
        tls: parts.tls()?,
    })
}

fn socket(parts: &Parts, login: Login) -> Result<Target, ConnectError> {
    let database = parts.option("db").map_or(Ok(0), |db| {
        db.parse().map_err(|_| bad("db is not a number"))
    })?;
    let path = PathBuf::from(percent(parts.url.path()));
    Ok(Target {
        name: format!("unix://{}?db={database}", path.display()),
        place: Place::Socket(path),
        login,
        sentinel_login: Login::default(),
        database,
        tls: None,
    })
}

fn bad(what: &str) -> ConnectError {
    ConnectError::BadUrl(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        parse(url, None).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn urls_are_read_as_juicefs_reads_them() {
        let plain = target("redis://:p%40ss@host/3");
        assert_eq!(
            (plain.name.as_str(), plain.database, plain.login.user),
            ("redis://host:6379/3", 3, None)
        );
        assert_eq!(plain.login.password, Some(Secret::new("p@ss")));
        let user = target("rediss://me:pw@[::1]:7000");
        assert_eq!(
            (user.name.as_str(), user.login.user.as_deref()),
            ("rediss://::1:7000/0", Some("me"))
        );
        let socket = target("unix:///run/redis.sock?db=2");
        assert!(matches!(socket.place, Place::Socket(path) if path.ends_with("redis.sock")));
        assert_eq!(socket.database, 2);
        let sentinel = target("redis://:pw@mymaster,h1,h2:5000/1");
        assert_eq!(
            (sentinel.name.as_str(), sentinel.prefix()),
            ("redis://mymaster,h1:5000,h2:5000/1", Vec::new())
        );
        let cluster = target("redis://me:p@h1:7000,h2:7001/3");
        assert_eq!(cluster.prefix(), b"{3}");
        assert_eq!(cluster.login.user.as_deref(), Some("me"));
        let given = parse("redis://:old@host", Some(&Secret::new("new")))
            .map(|target| target.login.password);
        assert!(
            given.is_ok_and(|password| password == Some(Secret::new("new"))),
            "META_PASSWORD stands above"
        );
    }

    #[test]
    fn one_node_stands_for_its_cluster_and_a_socket_does_not() {
        let one = target("redis://h1:7000/3").into_cluster();
        assert!(one.is_ok_and(|cluster| cluster.prefix() == b"{3}"));
        let socket = target("unix:///run/redis.sock").into_cluster();
        let said = socket.err().map(|error| error.to_string());
        assert!(said.is_some_and(|said| said.contains("host and port")));
    }

    #[test]
    fn other_forms_are_refused_without_repeating_them() {
        for url in [
            "redis://:s3cret@mymaster,h1:x,h2/1",
            "redis://:s3cret@host/x",
            "redis://:s3cret@host:99999",
            "redis://:s3cret@",
        ] {
            let error = parse(url, None)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(!error.is_empty() && !error.contains("s3cret"), "{error}");
        }
    }
}
