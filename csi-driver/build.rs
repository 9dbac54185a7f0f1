//! Generates the gRPC services from `proto/`, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["proto/csi.proto", "proto/registration.proto"];
    for proto in protos {
        println!("cargo::rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(protos, ["proto"])?;
    // Their Debug, in src/proto.rs, does not show their secrets.
    let secretive = [
        "CreateVolumeRequest",
        "DeleteVolumeRequest",
        "ValidateVolumeCapabilitiesRequest",
        "ControllerExpandVolumeRequest",
        "NodeStageVolumeRequest",
        "NodePublishVolumeRequest",
    ];
    tonic_prost_build::configure()
        .skip_debug(secretive.map(|message| format!(".csi.v1.{message}")))
        .compile_fds(descriptors)?;
    Ok(())
}
