//! TLS as PostgreSQL does it: asked for in the clear, then negotiated.
//!
//! The modes are libpq's `sslmode`: `disable`, `prefer` (encrypted if the server
//! can), `require` (encrypted; the certificate is not looked at unless `sslrootcert`
//! is given, and then as in the next), `verify-ca`, `verify-full` (the name, too).

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::target::Address;

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

/// Reads `sslmode`, `sslrootcert`, `sslcert` and `sslkey`.
pub(super) fn parse(
    option: impl Fn(&str) -> Option<String>,
    address: &Address,
) -> Result<Tls, String> {
    let read = |name: &str| {
        let path = option(name).filter(|path| !path.is_empty() && path != "system");
        path.map(|path| std::fs::read(&path).map_err(|error| format!("{name} {path}: {error}")))
            .transpose()
    };
    let roots = read("sslrootcert")?;
    let mode = match option("sslmode").as_deref() {
        _ if matches!(address, Address::Unix(_)) => Mode::Disable,
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

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<Verifier>, String> {
        let mut verifier = Verifier {
            provider: Arc::clone(provider),
            mode: self.mode,
            chain: None,
        };
        if self.mode >= Mode::VerifyCa {
            let roots = Arc::new(self.trusted()?);
            let chain =
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
            verifier.chain = Some(chain.map_err(|error| format!("sslrootcert: {error}"))?);
        }
        Ok(Arc::new(verifier))
    }

    fn trusted(&self) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        match &self.roots {
            Some(roots) => {
                for root in certificates(roots).map_err(|error| format!("sslrootcert: {error}"))? {
                    let added = store.add(root);
                    added.map_err(|error| format!("sslrootcert: {error}"))?;
                }
            }
            None => {
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(store)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Looks at as much of a certificate as the mode wants.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    mode: Mode,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
                if self.mode == Mode::VerifyCa =>
            {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
