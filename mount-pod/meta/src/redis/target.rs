//! What a URL names: a place, and a login for it.

use std::path::PathBuf;

use carafe_types::Secret;
use redis::{
    Client as Server, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisError, TlsCertificates,
};
use url::Url;

use crate::{
    ConnectError,
    address::{given, percent},
};

/// Where and how, as the URL says.
#[derive(Clone, PartialEq)]
pub(super) struct Target {
    address: ConnectionAddr,
    pub(super) login: Login,
    pub(super) database: i64,
    tls: Option<Tls>,
    /// The place without secrets, for people.
    pub(super) name: String,
}

/// As whom. Without a password, nobody logs in.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

/// The contents of the files that the URL names.
#[derive(Clone, PartialEq)]
struct Tls {
    /// The client's certificate and its key.
    client: Option<(Vec<u8>, Vec<u8>)>,
    root: Option<Vec<u8>>,
}

impl Target {
    /// The server, without the login: a refused one is told apart better by asking
    /// for it ourselves.
    pub(super) fn server(&self) -> Result<Server, ConnectError> {
        let bad = |error: RedisError| ConnectError::BadUrl(error.to_string());
        let address = self.address.clone();
        let info: ConnectionInfo = address.into_connection_info().map_err(bad)?;
        let Some(Tls { client, root }) = self.tls.clone() else {
            return Server::open(info).map_err(bad);
        };
        let client_tls = client.map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        });
        let certificates = TlsCertificates {
            client_tls,
            root_cert: root,
        };
        Server::build_with_tls(info, certificates).map_err(bad)
    }
}

/// Reads the URL as JuiceFS reads it. No error repeats it: it may hold a password.
pub(super) fn parse(url: &str, password: Option<&Secret>) -> Result<Target, ConnectError> {
    let bad = |what: &str| ConnectError::BadUrl(what.to_owned());
    let authority = url.split_once("://").map_or("", |(_, rest)| {
        rest.split(['/', '?']).next().unwrap_or_default()
    });
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    if hosts.contains(',') {
        return Err(bad(
            "several hosts mean Redis Sentinel or Cluster, which this build does not speak: name one server",
        ));
    }
    let url = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
    let decode = |text: &str| percent(text);
    let password = given(password, url.password().map(decode));
    let user = Some(decode(url.username())).filter(|user| !user.is_empty());
    let login = Login { user, password };
    let option = |name: &str| {
        url.query_pairs()
            .find(|(key, _)| key.replace('_', "-") == name)
            .map(|(_, value)| value.into_owned())
    };
    if url.scheme() == "unix" {
        let database = option("db").map_or(Ok(0), |db| {
            db.parse().map_err(|_| bad("db is not a number"))
        })?;
        let path = PathBuf::from(decode(url.path()));
        let name = format!("unix://{}?db={database}", path.display());
        return Ok(Target {
            address: ConnectionAddr::Unix(path),
            login,
            database,
            tls: None,
            name,
        });
    }
    let host = url
        .host_str()
        .ok_or_else(|| bad("there is no host in it"))?
        .trim_matches(['[', ']'])
        .to_owned();
    let port = url.port().unwrap_or(6379);
    let path = url.path().trim_matches('/');
    let database = if path.is_empty() { Ok(0) } else { path.parse() };
    let database = database
        .map_err(|_| bad("the path is not a database's number, as in redis://host:6379/1"))?;
    let name = format!("{}://{host}:{port}/{database}", url.scheme());
    if url.scheme() == "redis" {
        let address = ConnectionAddr::Tcp(host, port);
        return Ok(Target {
            address,
            login,
            database,
            tls: None,
            name,
        });
    }
    let read = |name: &str| {
        option(name)
            .map(|path| std::fs::read(&path).map_err(|error| bad(&format!("{path}: {error}"))))
            .transpose()
    };
    let client = match (read("tls-cert-file")?, read("tls-key-file")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(bad("tls-cert-file and tls-key-file go together")),
    };
    let insecure = option("insecure-skip-verify").is_some_and(|value| !value.is_empty());
    let address = ConnectionAddr::TcpTls {
        host,
        port,
        insecure,
        tls_params: None,
    };
    let tls = Some(Tls {
        client,
        root: read("tls-ca-cert-file")?,
    });
    Ok(Target {
        address,
        login,
        database,
        tls,
        name,
    })
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
        assert_eq!(
            (socket.address, socket.database),
            (ConnectionAddr::Unix("/run/redis.sock".into()), 2)
        );
        let given = parse("redis://:old@host", Some(&Secret::new("new")))
            .map(|target| target.login.password);
        assert!(
            given.is_ok_and(|password| password == Some(Secret::new("new"))),
            "META_PASSWORD stands above"
        );
    }

    #[test]
    fn other_forms_are_refused_without_repeating_them() {
        for url in [
            "redis://:s3cret@mymaster,h1:26379,h2/1",
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
