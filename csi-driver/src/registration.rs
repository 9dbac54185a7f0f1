//! Registration with kubelet, without a sidecar.
//!
//! Kubelet watches `<its directory>/plugins_registry` for sockets, asks each who it
//! is, and then uses the CSI socket that the answer names. When kubelet restarts it
//! finds the socket again; when this plugin restarts it makes a new one, which kubelet
//! notices.

use std::path::{Path, PathBuf};

use tonic::{Request, Response, Status, async_trait};

use crate::{
    health::{Health, Progress},
    proto::registration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
        registration_server::Registration,
    },
};

/// Tells kubelet about the driver.
#[derive(Clone, Debug)]
pub struct RegistrationService {
    /// The driver's name.
    pub driver_name: String,
    /// The CSI socket, as kubelet sees it.
    pub endpoint: PathBuf,
    /// Who wants to know what kubelet says.
    pub health: Health,
}

/// Where the registration socket lies.
///
/// Kubelet's gRPC sends the socket's path, its slashes percent-encoded, as the
/// request's `:authority`. Ours (by the letter) takes percent signs only in the part
/// before an `@`, and ends the stream otherwise: so the name has an `@`.
pub fn registration_socket(kubelet_dir: &Path, driver_name: &str) -> PathBuf {
    kubelet_dir
        .join("plugins_registry")
        .join(format!("{driver_name}@reg.sock"))
}

#[async_trait]
impl Registration for RegistrationService {
    async fn get_info(
        &self,
        _request: Request<InfoRequest>,
    ) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.driver_name.clone(),
            endpoint: self.endpoint.to_string_lossy().into_owned(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!(
                driver = self.driver_name,
                "kubelet has registered the driver"
            );
            self.health.set(Progress::Ready);
        } else {
            tracing::error!(
                driver = self.driver_name,
                reason = status.error,
                "kubelet did not register the driver"
            );
            self.health.set(Progress::Rejected(status.error));
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use tonic::codegen::http::uri::Authority;

    use super::*;

    #[test]
    fn kubelets_authority_is_one() {
        let socket = registration_socket(Path::new("/var/lib/kubelet"), "csi.carafe.io");
        // As grpc-go encodes it.
        let encoded = socket.to_str().unwrap().replace('/', "%2F");
        assert!(Authority::try_from(encoded.as_str()).is_ok(), "{encoded}");
        assert!(
            Authority::try_from("%2Fvar%2Freg.sock").is_err(),
            "or else any name would do"
        );
    }
}
