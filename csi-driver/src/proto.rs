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

/// Requests with secrets show what they are about and nothing else.
macro_rules! hide_secrets {
    ($($message:ident { $id:ident }),* $(,)?) => {
        $(impl std::fmt::Debug for csi::$message {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.debug_struct(stringify!($message))
                    .field(stringify!($id), &self.$id)
                    .finish_non_exhaustive()
            }
        })*
    };
}

hide_secrets! {
    CreateVolumeRequest { name },
    DeleteVolumeRequest { volume_id },
    ValidateVolumeCapabilitiesRequest { volume_id },
    ControllerExpandVolumeRequest { volume_id },
    NodeStageVolumeRequest { volume_id },
    NodePublishVolumeRequest { volume_id },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_does_not_show_its_secrets() {
        let request = csi::NodeStageVolumeRequest {
            volume_id: "pvc-1".into(),
            secrets: [("metaurl".to_owned(), "redis://:hunter2@db".to_owned())].into(),
            ..csi::NodeStageVolumeRequest::default()
        };
        assert_eq!(
            format!("{request:?}"),
            "NodeStageVolumeRequest { volume_id: \"pvc-1\", .. }"
        );
    }
}
