//! What a `tikv://` URL names: placement drivers, a prefix, certificates.

use std::time::Duration;

use tikv_client::Config;

use crate::{ConnectError, address::percent, kv::members};

/// Where and how, as the URL says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// The placement drivers, each `host:port`.
    pub(super) members: Vec<String>,
    /// What all keys begin with.
    pub(super) prefix: Vec<u8>,
    /// The files of the signer's certificate, the client's, and its key.
    certificates: Option<[String; 3]>,
    /// The place, for people.
    pub(super) name: String,
}

impl Target {
    /// What the client is made with.
    pub(super) fn config(&self, patience: Duration) -> Config {
        let config = Config::default().with_timeout(patience);
        match &self.certificates {
            Some([ca, certificate, key]) => config.with_security(ca, certificate, key),
            None => config,
        }
    }
}

/// Reads the URL as JuiceFS reads it. No error repeats it.
pub(super) fn parse(url: &str) -> Result<Target, ConnectError> {
    let bad = |what: &str| ConnectError::BadUrl(what.to_owned());
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
    let members = members(hosts)
        .filter(|_| !hosts.contains('@'))
        .ok_or_else(|| bad("tikv:// wants placement drivers: tikv://host:2379/prefix"))?;
    let path = percent(path.trim_start_matches('/'));
    let option = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.into_owned())
    };
    let certificates = match ["ca", "cert", "key"].map(option) {
        [Some(ca), Some(certificate), Some(key)] => Some([ca, certificate, key]),
        [None, None, None] => None,
        _ => return Err(bad("ca, cert and key go together")),
    };
    Ok(Target {
        name: format!("tikv://{}/{path}", members.join(",")),
        // JuiceFS's own end of the prefix: no text holds this byte.
        prefix: [path.as_bytes(), &[0xfd]].concat(),
        members,
        certificates,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_juicefs_reads_them() {
        let plain = parse("tikv://one,two:2/jfs").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plain.members, ["one:2379", "two:2"]);
        assert_eq!(plain.prefix, b"jfs\xfd");
        assert_eq!(plain.name, "tikv://one:2379,two:2/jfs");
        for url in ["tikv://", "tikv://one:x/p", "tikv://one/p?ca=/ca.pem"] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
