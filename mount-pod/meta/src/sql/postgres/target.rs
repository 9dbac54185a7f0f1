//! What a URL names: a place, and a login for it.

use std::path::PathBuf;

use carafe_types::Secret;
use url::Url;

use super::tls::{self, Tls};
use crate::{
    ConnectError,
    address::{given, percent},
    sql::{
        driver::{Common, Target},
        names::Names,
    },
};

/// Where and how, as the URL says.
#[derive(Clone, PartialEq)]
pub(crate) struct Postgres {
    pub(super) address: Address,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: String,
    pub(super) tls: Tls,
    common: Common,
}

/// The server's address.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Address {
    /// A host and a port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(PathBuf),
}

impl Target for Postgres {
    /// Reads the URL as JuiceFS reads it.
    fn parse(url: &str, password: Option<&Secret>) -> Result<Self, ConnectError> {
        let bad = |what: String| ConnectError::BadUrl(what);
        let parts = Parts::of(url).map_err(bad)?;
        let option = |name: &str| parts.option(name);
        let address = parts.address().map_err(bad)?;
        let names = Names::new(option("search_path"), option("table_prefix")).map_err(bad)?;
        let user = option("user").or_else(|| parts.user.clone());
        let database = option("dbname").unwrap_or_else(|| parts.database.clone());
        if database.is_empty() {
            return Err(bad(
                "it names no database: postgres://user@host:5432/database".into(),
            ));
        }
        let place = place(&address, &database, &names);
        let common = Common::new(place, names, option("max_open_conns").as_deref());
        Ok(Self {
            tls: tls::parse(option, matches!(address, Address::Unix(_))).map_err(bad)?,
            password: given(password, option("password").or(parts.password.clone())),
            address,
            user,
            database,
            common: common.map_err(bad)?,
        })
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

fn place(address: &Address, database: &str, names: &Names) -> String {
    let mut place = match address {
        Address::Tcp(host, port) => format!("postgres://{host}:{port}/{database}"),
        Address::Unix(path) => format!("postgres:///{database}?host={}", path.display()),
    };
    for (name, value) in [
        ("search_path", &names.schema),
        ("table_prefix", &names.prefix),
    ] {
        if let Some(value) = value {
            let mark = if place.contains('?') { "&" } else { "?" };
            place.extend([mark, name, "=", value]);
        }
    }
    place
}

/// The URL taken apart.
struct Parts {
    user: Option<String>,
    password: Option<String>,
    host: String,
    port: u16,
    database: String,
    options: Vec<(String, String)>,
}

impl Parts {
    fn of(url: &str) -> Result<Self, String> {
        let (_, rest) = url.split_once("://").unwrap_or_default();
        let (authority, _) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if host.contains(',') {
            return Err("several hosts are not supported: name one server".to_owned());
        }
        // An empty host with a login, which means a socket, is no URL for the parser.
        let host = if host.is_empty() { "localhost" } else { host };
        let tail = &rest[authority.len()..];
        let rebuilt = format!("postgres://{login}@{host}{tail}");
        let url = Url::parse(&rebuilt).map_err(|error| error.to_string())?;
        let part = |text: &str| Some(percent(text)).filter(|text| !text.is_empty());
        Ok(Self {
            user: part(url.username()),
            password: url.password().map(percent),
            host: url
                .host_str()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            port: url.port().unwrap_or(5432),
            database: percent(url.path().trim_start_matches('/')),
            options: url
                .query_pairs()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        })
    }

    fn option(&self, name: &str) -> Option<String> {
        let found = self.options.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    }

    /// `host` in the options may be a directory with a socket.
    fn address(&self) -> Result<Address, String> {
        let port = self.option("port").map_or(Ok(self.port), |port| {
            port.parse().map_err(|_| "port is not a number".to_owned())
        })?;
        Ok(match self.option("host") {
            Some(host) if host.starts_with('/') => {
                Address::Unix(PathBuf::from(host).join(format!(".s.PGSQL.{port}")))
            }
            Some(host) => Address::Tcp(host, port),
            None => Address::Tcp(self.host.clone(), port),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Postgres {
        Postgres::parse(url, None).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn urls_are_read_as_juicefs_reads_them() {
        let full = target("postgres://me:p%40ss@host/jfs?search_path=vol&sslmode=disable");
        assert_eq!(
            full.common.place,
            "postgres://host:5432/jfs?search_path=vol"
        );
        assert_eq!(full.user.as_deref(), Some("me"));
        assert_eq!(full.password, Some(Secret::new("p@ss")));
        let socket = target("postgresql://me@/jfs?host=/run/postgresql&max_open_conns=3");
        assert_eq!(
            socket.address,
            Address::Unix("/run/postgresql/.s.PGSQL.5432".into())
        );
        assert_eq!(socket.common.connections, 3);
        let six = target("postgres://[::1]:7000/jfs");
        assert_eq!(six.address, Address::Tcp("::1".into(), 7000));
        let above = Postgres::parse("postgres://me:old@host/jfs", Some(&Secret::new("new")));
        assert!(
            above.is_ok_and(|target| target.password == Some(Secret::new("new"))),
            "META_PASSWORD stands above"
        );
    }

    #[test]
    fn other_forms_are_refused_without_repeating_them() {
        for url in [
            "postgres://me:s3cret@one,two/jfs",
            "postgres://me:s3cret@host",
            "postgres://me:s3cret@host:99999/jfs",
            "postgres://me:s3cret@host/jfs?search_path=a,b",
            "postgres://me:s3cret@host/jfs?sslmode=perhaps",
            "postgres://me:s3cret@host/jfs?sslrootcert=/no/such/file",
        ] {
            let error = Postgres::parse(url, None)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(!error.is_empty() && !error.contains("s3cret"), "{error}");
        }
    }
}
