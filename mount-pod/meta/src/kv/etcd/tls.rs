//! TLS to a member of the cluster.

use std::sync::Arc;

use rustls::{
    ClientConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject},
};

use super::target::Tls;
use crate::tls::{Lenient, certificates, roots};

/// What a connection is made with; the error says which file is of no use.
pub(super) fn config(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if tls.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient::any(provider)))
    } else {
        let roots = roots(tls.root.as_deref()).map_err(|error| format!("cacert: {error}"))?;
        builder.with_root_certificates(roots)
    };
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate).map_err(|error| format!("cert: {error}"))?;
            let key =
                PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("key: {error}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("cert and key: {error}"))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
