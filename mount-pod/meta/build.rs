//! Generates etcd's gRPC client from `proto/`, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/etcd.proto");
    let descriptors = protox::compile(["proto/etcd.proto"], ["proto"])?;
    // Its Debug, in src/kv/etcd/proto.rs, does not show the password.
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .skip_debug([
            ".etcdserverpb.AuthenticateRequest",
            ".etcdserverpb.AuthenticateResponse",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
