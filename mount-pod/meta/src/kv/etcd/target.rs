//! What an `etcd://` URL names: members, a prefix, a login, certificates.

use carafe_types::Secret;

use crate::{
    ConnectError,
    address::{given, percent},
    kv::members,
};

/// Where and how, as the URL says.
#[derive(Clone, PartialEq)]
pub(super) struct Target {
    /// The members, each `host:port`.
    pub(super) members: Vec<String>,
    /// What all keys begin with.
    pub(super) prefix: Vec<u8>,
    /// User and password; without one of them nobody logs in.
    pub(super) login: Option<(String, Secret)>,
    pub(super) tls: Option<Tls>,
    /// The place without secrets, for people.
    pub(super) name: String,
}

/// The contents of the files that the URL names, and how to check the server.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Tls {
    /// Who signs the servers' certificates; the system's, if `None`.
    pub(super) root: Option<Vec<u8>>,
    /// The client's certificate and its key.
    pub(super) client: Option<(Vec<u8>, Vec<u8>)>,
    /// The name on the servers' certificates, if it is not the member's.
    pub(super) server_name: Option<String>,
    /// Any certificate will do.
    pub(super) insecure: bool,
}

/// Reads the URL as JuiceFS reads it. No error repeats it: it may hold a password.
pub(super) fn parse(url: &str, password: Option<&Secret>) -> Result<Target, ConnectError> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match place.find('/') {
        Some(at) => place.split_at(at),
        None => (place, ""),
    };
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let members = members(hosts);
    let bad = || ConnectError::BadUrl("etcd:// wants members: etcd://host:2379/prefix".into());
    let members = members.ok_or_else(bad)?;
    let path = percent(path);
    let name = format!("etcd://{}{path}", members.join(","));
    // JuiceFS's own end of the prefix: no text holds this byte.
    let prefix = [path.as_bytes(), &[0xfd]].concat();
    Ok(Target {
        members,
        prefix,
        login: login(user, password),
        tls: tls(query)?,
        name,
    })
}

fn login(user: &str, password: Option<&Secret>) -> Option<(String, Secret)> {
    let (user, from_url) = user.split_once(':').unwrap_or((user, ""));
    let password = given(password, Some(percent(from_url)));
    let password = password.filter(|password| !password.is_empty())?;
    Some((percent(user), password)).filter(|(user, _)| !user.is_empty())
}

fn tls(query: &str) -> Result<Option<Tls>, ConnectError> {
    let bad = |what: String| ConnectError::BadUrl(what);
    let option = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, value)| key.replace('_', "-") == name && !value.is_empty())
            .map(|(_, value)| value.into_owned())
    };
    let read = |name: &str| {
        option(name)
            .map(|path| std::fs::read(&path).map_err(|error| bad(format!("{path}: {error}"))))
            .transpose()
    };
    let client = match (read("cert")?, read("key")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(bad("cert and key go together".into())),
    };
    let tls = Tls {
        root: read("cacert")?,
        client,
        server_name: option("server-name"),
        insecure: option("insecure-skip-verify").is_some(),
    };
    Ok(Some(tls).filter(|tls| *tls != Tls::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        parse(url, None).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn urls_are_read_as_juicefs_reads_them() {
        let plain = target("etcd://host/jfs");
        assert_eq!(
            (plain.name.as_str(), &plain.prefix[..]),
            ("etcd://host:2379/jfs", &b"/jfs\xfd"[..])
        );
        assert!(plain.login.is_none() && plain.tls.is_none());
        let many = target("etcd://me:p%40ss@one:1,two,[::1],[::1]:2/a/b?insecure-skip-verify=1");
        assert_eq!(many.members, ["one:1", "two:2379", "[::1]:2379", "[::1]:2"]);
        assert_eq!(many.login, Some(("me".into(), Secret::new("p@ss"))));
        assert!(many.tls.is_some_and(|tls| tls.insecure));
        let given = parse("etcd://me:old@host", Some(&Secret::new("new")));
        let login = given.ok().and_then(|target| target.login);
        assert_eq!(
            login,
            Some(("me".into(), Secret::new("new"))),
            "META_PASSWORD stands above"
        );
        assert_eq!(target("etcd://host").prefix, b"\xfd");
    }

    #[test]
    fn other_forms_are_refused_without_repeating_them() {
        for url in [
            "etcd://me:s3cret@",
            "etcd://me:s3cret@host:99999/x",
            "etcd://me:s3cret@one,,two/x",
            "etcd://me:s3cret@host/x?cert=/no/such/file",
            "etcd://me:s3cret@host/x?cert=/dev/null",
        ] {
            let error = parse(url, None).err().map(|error| error.to_string());
            assert!(error.is_some_and(|said| !said.contains("s3cret")), "{url}");
        }
    }
}
