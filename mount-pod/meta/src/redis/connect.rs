//! From a URL to a connection.

use std::{path::PathBuf, sync::Arc, time::Duration};

use carafe_types::Secret;
use redis::{
    Client as Server, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, Script, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use url::Url;

use super::{Redis, guesses::Guesses, wire::Wire};
use crate::{ConnectError, ConnectOptions, Meta, client::Client};

/// Where and how, as the URL says.
struct Target {
    address: ConnectionAddr,
    user: Option<String>,
    password: Option<Secret>,
    database: i64,
    tls: Option<TlsCertificates>,
    /// The place without secrets, for people.
    name: String,
}

/// A client of the Redis that `url` names.
pub(crate) async fn connect(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Arc<dyn Meta>, ConnectError> {
    let engine = open(url, password, options).await?;
    Ok(Arc::new(Client::new(engine)))
}

/// Opens the Redis that `url` names.
pub(crate) async fn open(
    url: &str,
    password: Option<&Secret>,
    options: ConnectOptions,
) -> Result<Redis, ConnectError> {
    let target = parse(url, password)?;
    let name = target.name.clone();
    let server = server(target)?;
    let deadline = tokio::time::Instant::now() + options.timeout;
    let manager = tokio::time::timeout_at(deadline, first_contact(&server, &name, options)).await;
    let silent = || ConnectError::Unreachable {
        place: name.clone(),
        reason: format!("no answer within {} s", options.timeout.as_secs()),
    };
    let connection = manager.map_err(|_| silent())??;
    Ok(Redis {
        name,
        wire: Wire { connection },
        guesses: Guesses::default(),
        write: Script::new(include_str!("write.lua")),
        lookup: Script::new(include_str!("lookup.lua")),
    })
}

/// A first connection tells of a wrong password or address at once; the manager
/// would go on trying.
async fn first_contact(
    server: &Server,
    name: &str,
    options: ConnectOptions,
) -> Result<ConnectionManager, ConnectError> {
    let explain = |error: RedisError| explain(name, &error);
    let mut first = server
        .get_multiplexed_async_connection()
        .await
        .map_err(explain)?;
    let info: String = redis::cmd("INFO")
        .arg("cluster")
        .query_async(&mut first)
        .await
        .map_err(explain)?;
    if info.contains("cluster_enabled:1") {
        return Err(ConnectError::BadUrl(
            "this build does not speak to a Redis Cluster: use a single server".into(),
        ));
    }
    let config = ConnectionManagerConfig::new()
        .set_min_delay(Duration::from_millis(10))
        .set_max_delay(Duration::from_millis(500))
        .set_number_of_retries(1_000_000)
        .set_response_timeout(None)
        .set_connection_timeout(Some(options.timeout));
    ConnectionManager::new_with_config(server.clone(), config)
        .await
        .map_err(explain)
}

/// What the server's or the network's refusal means for the user.
fn explain(place: &str, error: &RedisError) -> ConnectError {
    let (place, reason) = (place.to_owned(), error.to_string());
    let login = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    if login {
        ConnectError::Refused { place, reason }
    } else {
        ConnectError::Unreachable { place, reason }
    }
}

fn server(target: Target) -> Result<Server, ConnectError> {
    let mut login = RedisConnectionInfo::default().set_db(target.database);
    if let Some(user) = target.user {
        login = login.set_username(user);
    }
    if let Some(password) = target.password {
        login = login.set_password(password.expose());
    }
    let bad = |error: RedisError| ConnectError::BadUrl(error.to_string());
    let info: ConnectionInfo = target
        .address
        .into_connection_info()
        .map_err(bad)?
        .set_redis_settings(login);
    match target.tls {
        Some(certificates) => Server::build_with_tls(info, certificates).map_err(bad),
        None => Server::open(info).map_err(bad),
    }
}

/// Reads the URL as JuiceFS reads it. No error repeats it: it may hold a password.
fn parse(url: &str, password: Option<&Secret>) -> Result<Target, ConnectError> {
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
    let from_url = url.password().map(|password| Secret::new(decode(password)));
    let password = password
        .filter(|password| !password.is_empty())
        .cloned()
        .or(from_url);
    let user = Some(decode(url.username())).filter(|user| !user.is_empty());
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
            user,
            password,
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
            user,
            password,
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
    let client_tls = match (read("tls-cert-file")?, read("tls-key-file")?) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig {
            client_cert,
            client_key,
        }),
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
    let tls = Some(TlsCertificates {
        client_tls,
        root_cert: read("tls-ca-cert-file")?,
    });
    Ok(Target {
        address,
        user,
        password,
        database,
        tls,
        name,
    })
}

/// Undoes `%41`.
fn percent(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = if byte == b'%' {
            behind
                .get(..2)
                .and_then(|hex| std::str::from_utf8(hex).ok())
        } else {
            None
        };
        let decoded = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() {
            &behind[2..]
        } else {
            behind
        };
    }
    String::from_utf8_lossy(&out).into_owned()
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
            (plain.name.as_str(), plain.database, plain.user),
            ("redis://host:6379/3", 3, None)
        );
        assert_eq!(plain.password, Some(Secret::new("p@ss")));
        let user = target("rediss://me:pw@[::1]:7000");
        assert_eq!(
            (user.name.as_str(), user.user.as_deref()),
            ("rediss://::1:7000/0", Some("me"))
        );
        let socket = target("unix:///run/redis.sock?db=2");
        assert_eq!(
            (socket.address, socket.database),
            (ConnectionAddr::Unix("/run/redis.sock".into()), 2)
        );
        let given =
            parse("redis://:old@host", Some(&Secret::new("new"))).map(|target| target.password);
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
