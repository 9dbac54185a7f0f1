//! TLS as PostgreSQL does it: asked for in the clear, then negotiated.
//!
//! The modes are libpq's `sslmode`: `disable`, `prefer` (encrypted if the server
//! can), `require` (encrypted; the certificate is not looked at unless `sslrootcert`
//! is given, and then as in the next), `verify-ca`, `verify-full` (the name, too).

use std::sync::Arc;

use rustls::{
    ClientConfig,
    crypto::CryptoProvider,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::tls::{Lenient, certificates, roots};

/// What the URL wants of TLS, with the contents of the files that it names.
#[derive(Clone, PartialEq)]
pub(super) struct Tls {
    mode: Mode,
    /// Whose certificates are trusted; `None` means the system's.
    roots: Option<Vec<u8>>,
    /// The client's certificate and its key.
    client: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// A stream, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Asks a server whether it speaks TLS (the protocol's SSLRequest).
const REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Reads `sslmode`, `sslrootcert`, `sslcert` and `sslkey`. On a Unix socket there is no
/// TLS.
pub(super) fn parse(
    option: impl Fn(&str) -> Option<String>,
    is_socket: bool,
) -> Result<Tls, String> {
    let read = |name: &str| {
        let path = option(name).filter(|path| !path.is_empty() && path != "system");
        path.map(|path| std::fs::read(&path).map_err(|error| format!("{name} {path}: {error}")))
            .transpose()
    };
    let roots = read("sslrootcert")?;
    let mode = match option("sslmode").as_deref() {
        _ if is_socket => Mode::Disable,
        Some("disable") => Mode::Disable,
        None | Some("" | "prefer" | "allow") => Mode::Prefer,
        Some("require") if roots.is_some() => Mode::VerifyCa,
        Some("require") => Mode::Require,
        Some("verify-ca") => Mode::VerifyCa,
        Some("verify-full") => Mode::VerifyFull,
        Some(other) => {
            return Err(format!(
                "sslmode {other:?} is none of disable, prefer, require, verify-ca, verify-full"
            ));
        }
    };
    let client = match (read("sslcert")?, read("sslkey")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("sslcert and sslkey go together".to_owned()),
    };
    Ok(Tls {
        mode,
        roots,
        client,
    })
}

impl Tls {
    /// Encrypts the stream to `host` as far as the mode wants it.
    pub(super) async fn wrap(
        &self,
        mut stream: Box<dyn Stream>,
        host: &str,
    ) -> Result<Box<dyn Stream>, String> {
        if self.mode == Mode::Disable {
            return Ok(stream);
        }
        let io = |error: std::io::Error| error.to_string();
        stream.write_all(&REQUEST).await.map_err(io)?;
        match stream.read_u8().await.map_err(io)? {
            b'S' => {}
            b'N' if self.mode == Mode::Prefer => return Ok(stream),
            b'N' => {
                return Err(
                    "the server does not speak TLS: turn it on there, or use sslmode=disable"
                        .to_owned(),
                );
            }
            _ => return Err("the server did not answer the question for TLS".to_owned()),
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let encrypted = connector.connect(name, stream).await;
        let encrypted = encrypted.map_err(|error| format!("TLS: {error}"))?;
        Ok(Box::new(encrypted))
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = self.verifier(&provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let Some((certificate, key)) = &self.client else {
            return Ok(config.with_no_client_auth());
        };
        let chain = certificates(certificate).map_err(|error| format!("sslcert: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("sslkey: {error}"))?;
        config
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("sslcert: {error}"))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<Lenient>, String> {
        let provider = Arc::clone(provider);
        if self.mode < Mode::VerifyCa {
            return Ok(Arc::new(Lenient::any(provider)));
        }
        let wrong = |error| format!("sslrootcert: {error}");
        let roots = roots(self.roots.as_deref()).map_err(wrong)?;
        let by_name = self.mode == Mode::VerifyFull;
        let verifier = Lenient::signed(provider, roots, by_name).map_err(wrong)?;
        Ok(Arc::new(verifier))
    }
}
