//! etcd.

use carafe_meta::{Call, ConnectOptions, connect};
use carafe_testkit::{Etcd, Faulty};
use carafe_types::Error;

use crate::server::{Client, Server, refusal};

/// An etcd that lets everybody in until there is a client.
pub(crate) struct Guarded {
    etcd: Etcd,
    /// The administrator's login; empty before there is one.
    token: String,
}

pub(crate) fn server() -> Guarded {
    Guarded {
        etcd: Etcd::start(),
        token: String::new(),
    }
}

impl Guarded {
    fn admin(&self, path: &str, message: &str) {
        let token = Some(self.token.as_str()).filter(|token| !token.is_empty());
        self.etcd.call(path, message, token);
    }

    fn add_user(&self, name: &str, password: &str, role: &str) {
        let user = format!(r#"{{"name":"{name}","password":"{password}"}}"#);
        self.admin("auth/user/add", &user);
        let grant = format!(r#"{{"user":"{name}","role":"{role}"}}"#);
        self.admin("auth/user/grant", &grant);
    }
}

impl Faulty for Guarded {
    fn hang(&self) {
        self.etcd.hang();
    }

    fn resume(&self) {
        self.etcd.resume();
    }

    fn stop(&mut self) {
        self.etcd.stop();
    }

    fn start_again(&mut self) {
        self.etcd.start_again();
    }
}

impl Server for Guarded {
    fn fresh(&self) -> String {
        self.etcd.url("fresh")
    }

    /// It may do what it needs under `v`, and nothing else.
    fn make_client(&mut self, password: &str) {
        // The keys from "/v\xfd" to "/v\xfe".
        let keys = r#""perm":{"permType":"READWRITE","key":"L3b9","range_end":"L3b+"}"#;
        self.admin("auth/role/add", r#"{"name":"root"}"#);
        self.admin("auth/role/add", r#"{"name":"volume"}"#);
        self.admin("auth/role/grant", &format!(r#"{{"name":"volume",{keys}}}"#));
        self.add_user("root", "root", "root");
        self.add_user("client", password, "volume");
        self.admin("auth/enable", "{}");
        let login = r#"{"name":"root","password":"root"}"#;
        let said = self.etcd.call("auth/authenticate", login, None);
        let token = said.split(r#""token":""#).nth(1).unwrap();
        self.token.push_str(token.split('"').next().unwrap());
    }

    /// Ends the user's tokens, too.
    fn set_password(&self, password: &str) {
        let user = format!(r#"{{"name":"client","password":"{password}"}}"#);
        self.admin("auth/user/changepw", &user);
    }

    /// A connection is nobody's: what is a user's is its tokens.
    fn end_connections(&self) {}

    fn connections(&self) -> Option<usize> {
        None
    }

    fn client_url(&self, password: &str) -> String {
        format!("etcd://client:{password}@{}/v", self.etcd.address())
    }

    fn anonymous_urls(&self) -> Vec<String> {
        vec![self.etcd.url("v")]
    }

    fn elsewhere(&self, password: &str) -> (String, &'static str) {
        (format!("{}-other", self.client_url(password)), "/v-other")
    }

    fn unusable(&self, password: &str) -> String {
        format!("etcd://me:{password}@host:x/x")
    }
}

/// A login that is right, and may not do what a volume needs.
#[tokio::test]
async fn a_user_without_rights_is_told_which_it_needs() {
    let mut guarded = server();
    guarded.make_client("one");
    let elsewhere = refusal(&guarded.elsewhere("one").0).await.to_string();
    assert!(elsewhere.contains("grant readwrite"), "{elsewhere}");
}

#[tokio::test]
async fn prefixes_are_volumes_of_their_own() {
    let (one, other) = (Etcd::fresh_url(), Etcd::fresh_url());
    let client = Client::new(&one).await;
    assert!(!client.meta.name().is_empty());
    let other = connect(&other, None, ConnectOptions::default())
        .await
        .unwrap();
    let loaded = other.load(&Call::internal()).await;
    assert_eq!(loaded, Err(Error::NotFound), "not formatted");
    let warnings = client.meta.preflight(&Call::internal()).await;
    assert_eq!(warnings, Ok(Vec::new()));
}

#[tokio::test]
async fn tls_is_spoken_both_ways() {
    let etcd = Etcd::start_tls();
    let file = |name: &str| etcd.file(name).display().to_string();
    let certificate = format!("cert={}&key={}", file("client.crt"), file("client.key"));
    let url = |options: &str| format!("{}?{options}", etcd.url("v"));
    let whole = url(&format!("cacert={}&{certificate}", file("ca.crt")));
    Client::new(&whole).await.create("over tls").await;
    let anybody = url(&format!("insecure-skip-verify=1&{certificate}"));
    let meta = connect(&anybody, None, ConnectOptions::default())
        .await
        .unwrap();
    assert_eq!(meta.load(&Call::internal()).await.unwrap().name, "faults");

    for (options, expected) in [
        (format!("cacert={}", file("ca.crt")), "give cert and key"),
        (
            format!("cacert={}&{certificate}", file("client.crt")),
            "certificate",
        ),
        (
            format!(
                "cacert={}&{certificate}&server-name=elsewhere",
                file("ca.crt")
            ),
            "elsewhere",
        ),
        (
            format!("cacert={}&{certificate}", file("client.key")),
            "no certificate in it",
        ),
    ] {
        let error = refusal(&url(&options)).await.to_string();
        assert!(error.contains(expected), "{options}: {error}");
    }
}
