//! The generated messages and clients (`proto/etcd.proto`).
#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

tonic::include_proto!("etcdserverpb");

/// The login stays out of texts.
impl std::fmt::Debug for AuthenticateRequest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AuthenticateRequest")
            .finish_non_exhaustive()
    }
}

/// Likewise the token.
impl std::fmt::Debug for AuthenticateResponse {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AuthenticateResponse")
            .finish_non_exhaustive()
    }
}
