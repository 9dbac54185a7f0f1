//! What a URL names: a place, and a login for it.
//!
//! The form is that of Go's driver behind `mysql://`, and not that of a URL: nothing
//! is escaped, the password ends at the last `@`.

use carafe_types::Secret;

use crate::{
    ConnectError,
    address::given,
    sql::{
        driver::{Common, Target},
        names::Names,
    },
};

/// Where and how, as the URL says.
#[derive(Clone, PartialEq)]
pub(crate) struct MySql {
    pub(super) address: Address,
    pub(super) user: String,
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
    Unix(String),
}

/// The driver's `tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// In the clear.
    Off,
    /// Encrypted if the server can; its certificate is not looked at.
    Preferred,
    /// Encrypted; its certificate is not looked at.
    SkipVerify,
    /// Encrypted, with a certificate that the system trusts.
    On,
}

impl Target for MySql {
    /// Reads the URL as JuiceFS reads it.
    fn parse(url: &str, password: Option<&Secret>) -> Result<Self, ConnectError> {
        let bad = |what: &str| ConnectError::BadUrl(what.to_owned());
        let (_, rest) = url.split_once("://").unwrap_or_default();
        let form = "it is not of the form mysql://user:password@(host:3306)/database";
        let (before, behind) = rest.rsplit_once('/').ok_or_else(|| bad(form))?;
        let (database, options) = behind.split_once('?').unwrap_or((behind, ""));
        let (login, address) = before.rsplit_once('@').unwrap_or(("", before));
        let (user, in_url) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password.to_owned())),
            None => (login, None),
        };
        let option = |name: &str| {
            let pairs = options.split('&').filter_map(|pair| pair.split_once('='));
            let mut found = pairs.filter(|(key, _)| *key == name);
            found.next().map(|(_, value)| value.to_owned())
        };
        if database.is_empty() {
            return Err(bad(form));
        }
        let address = address_of(address).ok_or_else(|| bad(form))?;
        let names = Names::new(None, option("table_prefix")).map_err(|what| bad(&what))?;
        let tls = tls_of(option("tls").as_deref(), &address)
            .ok_or_else(|| bad("tls is none of true, skip-verify, preferred, false"))?;
        let place = place(&address, database, &names);
        let common = Common::new(place, names, option("max_open_conns").as_deref());
        Ok(Self {
            user: user.to_owned(),
            password: given(password, in_url.filter(|password| !password.is_empty())),
            database: database.to_owned(),
            common: common.map_err(|what| bad(&what))?,
            address,
            tls,
        })
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

/// `(host:3306)`, `tcp(host:3306)`, `unix(/path)`, or `host:3306`.
fn address_of(text: &str) -> Option<Address> {
    let (protocol, inner) = match text.split_once('(') {
        Some((protocol, rest)) => (protocol, rest.strip_suffix(')')?),
        None => ("", text),
    };
    match protocol {
        "unix" if inner.starts_with('/') => Some(Address::Unix(inner.to_owned())),
        "" | "tcp" => {
            let (host, port) = match inner.rsplit_once(':') {
                Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                    (host, port.parse().ok()?)
                }
                _ => (inner, 3306),
            };
            let host = host.trim_matches(['[', ']']);
            (!host.is_empty()).then(|| Address::Tcp(host.to_owned(), port))
        }
        _ => None,
    }
}

fn tls_of(option: Option<&str>, address: &Address) -> Option<Tls> {
    if matches!(address, Address::Unix(_)) {
        return Some(Tls::Off);
    }
    match option {
        None | Some("" | "false" | "0") => Some(Tls::Off),
        Some("true" | "1") => Some(Tls::On),
        Some("skip-verify") => Some(Tls::SkipVerify),
        Some("preferred") => Some(Tls::Preferred),
        Some(_) => None,
    }
}

fn place(address: &Address, database: &str, names: &Names) -> String {
    let address = match address {
        Address::Tcp(host, port) => format!("({host}:{port})"),
        Address::Unix(path) => format!("unix({path})"),
    };
    let prefix = names.prefix.as_ref();
    let prefix = prefix.map_or_else(String::new, |prefix| format!("?table_prefix={prefix}"));
    format!("mysql://{address}/{database}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> MySql {
        MySql::parse(url, None).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn urls_are_read_as_juicefs_reads_them() {
        let full = target("mysql://me:p@ss/w:rd@(host:3307)/jfs?tls=skip-verify&x=y");
        assert_eq!(full.common.place, "mysql://(host:3307)/jfs");
        assert_eq!(full.password, Some(Secret::new("p@ss/w:rd")));
        assert_eq!((full.user.as_str(), full.tls), ("me", Tls::SkipVerify));
        let socket = target("mysql://me@unix(/run/mysqld/mysqld.sock)/jfs?table_prefix=v1");
        assert_eq!(
            socket.common.place,
            "mysql://unix(/run/mysqld/mysqld.sock)/jfs?table_prefix=v1"
        );
        let six = target("mysql://me:@tcp([::1])/jfs");
        assert_eq!(six.address, Address::Tcp("::1".into(), 3306));
        assert_eq!(six.password, None, "an empty password is none");
        let above = MySql::parse("mysql://me:old@(host)/jfs", Some(&Secret::new("new")));
        assert!(
            above.is_ok_and(|target| target.password == Some(Secret::new("new"))),
            "META_PASSWORD stands above"
        );
    }

    #[test]
    fn other_forms_are_refused_without_repeating_them() {
        for url in [
            "mysql://me:s3cret@(host:3306)",
            "mysql://me:s3cret@(host:99999)/jfs",
            "mysql://me:s3cret@pipe(x)/jfs",
            "mysql://me:s3cret@(host:3306)/jfs?tls=perhaps",
            "mysql://me:s3cret@(host:3306/jfs",
        ] {
            let error = MySql::parse(url, None)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(!error.is_empty() && !error.contains("s3cret"), "{error}");
        }
    }
}
