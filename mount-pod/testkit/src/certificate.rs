//! Certificates.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::kept::run;

/// A certificate for `localhost` that vouches for itself, and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate's file, which is also whom to trust.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one in a directory.
    pub fn make(dir: &Path) -> Self {
        let made = Self {
            certificate: dir.join("certificate.pem"),
            key: dir.join("key.pem"),
        };
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
        openssl.args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]);
        openssl.args(["-subj", "/CN=localhost", "-addext"]);
        openssl.args(["subjectAltName=DNS:localhost", "-addext"]);
        openssl.args(["basicConstraints=critical,CA:FALSE"]);
        openssl.arg("-out").arg(&made.certificate);
        run(openssl.arg("-keyout").arg(&made.key));
        made
    }
}
