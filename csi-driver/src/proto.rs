//! The generated gRPC messages and services.

/// The Container Storage Interface (`proto/csi.proto`).
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// Registration with kubelet (`proto/registration.proto`).
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod registration {
    tonic::include_proto!("pluginregistration");
}
