//! The cluster's certificates, made with openssl.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::run::{NODES, Run, node_name};
use crate::shell;

/// Whom a certificate speaks for.
struct Subject {
    /// Its files' base name.
    file: String,
    /// As openssl writes it: `/O=group/CN=name`.
    name: String,
    /// Alternative names, where it serves.
    serves: Option<String>,
}

/// The directory of keys and certificates: `<name>.key`, `<name>.crt`.
#[derive(Debug, Clone)]
pub struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// The run's certificates, made already or not.
    pub fn of(run: &Run) -> Self {
        Self {
            dir: run.path("pki"),
        }
    }

    /// Makes the authority and every certificate that the cluster's parts need.
    pub fn create(run: &Run) -> Result<Self> {
        let pki = Self::of(run);
        fs::create_dir_all(&pki.dir)?;
        // Without a section of extensions, only those given below are set.
        fs::write(
            pki.file("openssl.cnf"),
            "[req]\ndistinguished_name = dn\n[dn]\n",
        )?;
        pki.create_authority()?;
        std::thread::scope(|scope| {
            let pki = &pki;
            let threads: Vec<_> = subjects(run)
                .into_iter()
                .map(|s| scope.spawn(move || pki.issue(&s)))
                .collect();
            threads.into_iter().try_for_each(shell::joined)
        })?;
        let mut openssl = shell::command(
            "openssl",
            [
                "ecparam",
                "-name",
                "prime256v1",
                "-genkey",
                "-noout",
                "-out",
            ],
        );
        shell::run(openssl.arg(pki.service_account_key()))?;
        Ok(pki)
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.file("ca.crt")
    }

    /// The authority's key.
    pub fn authority_key(&self) -> PathBuf {
        self.file("ca.key")
    }

    /// A certificate by its base name.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.crt"))
    }

    /// A certificate's key.
    pub fn key(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.key"))
    }

    /// The key that signs service account tokens; it also verifies them.
    pub fn service_account_key(&self) -> PathBuf {
        self.file("service-account.key")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn create_authority(&self) -> Result<()> {
        let mut openssl = self.request("/CN=carafe-e2e", "ca");
        openssl.args([
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
        ]);
        shell::run(&mut openssl)?;
        Ok(())
    }

    fn issue(&self, subject: &Subject) -> Result<()> {
        let mut openssl = self.request(&subject.name, &subject.file);
        openssl
            .arg("-CA")
            .arg(self.authority())
            .arg("-CAkey")
            .arg(self.authority_key());
        openssl.args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "extendedKeyUsage=clientAuth,serverAuth",
        ]);
        if let Some(names) = &subject.serves {
            openssl.args(["-addext", &format!("subjectAltName={names}")]);
        }
        shell::run(&mut openssl)?;
        Ok(())
    }

    fn request(&self, name: &str, file: &str) -> std::process::Command {
        let mut openssl = shell::command(
            "openssl",
            [
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ],
        );
        openssl
            .args(["-nodes", "-days", "365", "-subj", name, "-config"])
            .arg(self.file("openssl.cnf"));
        openssl
            .arg("-keyout")
            .arg(self.key(file))
            .arg("-out")
            .arg(self.certificate(file));
        openssl
    }
}

fn subjects(run: &Run) -> Vec<Subject> {
    let client = |file: &str, name: &str| Subject {
        file: file.into(),
        name: name.into(),
        serves: None,
    };
    let mut all = vec![
        client("admin", "/O=system:masters/CN=admin"),
        client("controller-manager", "/CN=system:kube-controller-manager"),
        client("scheduler", "/CN=system:kube-scheduler"),
        client("proxy", "/CN=system:kube-proxy"),
        client("api-to-kubelet", "/O=system:masters/CN=api-to-kubelet"),
        Subject {
            serves: Some(api_server_names(run)),
            ..client("api-server", "/CN=kube-apiserver")
        },
    ];
    all.extend((1..=NODES).map(|node| Subject {
        file: node_name(node),
        name: format!("/O=system:nodes/CN=system:node:{}", node_name(node)),
        serves: Some(format!(
            "IP:{},DNS:{}",
            run.node_address(node),
            node_name(node)
        )),
    }));
    all
}

fn api_server_names(run: &Run) -> String {
    format!(
        "IP:{},IP:{},DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local",
        run.host_address(),
        run.api_service_address()
    )
}
