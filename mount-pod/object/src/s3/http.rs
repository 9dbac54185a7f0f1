//! The HTTP client below the S3 back end.
//!
//! It must come up in an image that holds nothing but a binary: an `http` endpoint
//! needs no authorities at all, and for `https` those of Mozilla are built in and
//! stand beside the machine's.

use std::time::Duration;

use opendal::HttpTransporter;
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::{Certificate, Client, ClientBuilder};

use super::Bucket;
use crate::OpenError;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: below the minute after which many servers
/// and load balancers drop it.
const IDLE: Duration = Duration::from_secs(50);

/// A client with a pool of connections of its own.
pub(super) fn transport(bucket: &Bucket) -> Result<HttpTransporter, OpenError> {
    // Another part of the process may have chosen a provider before: theirs stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = Client::builder()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .http1_only();
    let builder = if bucket.endpoint.starts_with("https:") {
        trusting(builder, bucket)?
    } else {
        without_tls(builder)
    };
    let client = builder
        .build()
        .map_err(|error| OpenError::Client(said(&error)))?;
    Ok(HttpTransporter::new(ReqwestTransport::new(client)))
}

fn without_tls(builder: ClientBuilder) -> ClientBuilder {
    builder.tls_certs_only([])
}

fn trusting(builder: ClientBuilder, bucket: &Bucket) -> Result<ClientBuilder, OpenError> {
    let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let mut trusted: Vec<_> = built_in
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect();
    if let Some(path) = &bucket.authorities {
        let refuse = |reason: String| bucket.refuse(&format!("ca-certs={path}: {reason}"));
        let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        trusted.extend(Certificate::from_pem_bundle(&pem).map_err(|error| refuse(said(&error)))?);
    }
    Ok(builder
        .tls_certs_merge(trusted)
        .tls_danger_accept_invalid_certs(bucket.insecure))
}

/// The innermost cause, which says what is wrong.
fn said(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(deeper) = innermost.source() {
        innermost = deeper;
    }
    innermost.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::s3::Family;

    /// As in an image from scratch: `SSL_CERT_FILE=/nowhere SSL_CERT_DIR=/nowhere` in the
    /// environment makes the machine's authorities invisible too.
    #[test]
    fn a_client_comes_up_without_the_machines_authorities() {
        for endpoint in [
            "http://host:1/data",
            "https://host/data",
            "https://host/data?tls-insecure-skip-verify=true",
        ] {
            let bucket = Bucket::parse(Family::Minio, endpoint, |_| None).unwrap();
            transport(&bucket).unwrap();
        }
        let missing = Bucket::parse(Family::Minio, "https://host/data?ca-certs=/nowhere", |_| {
            None
        })
        .unwrap();
        assert!(matches!(transport(&missing), Err(OpenError::Bucket { .. })));
    }
}
