//! Files that tell a client where the API server is and who it is.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::certs::Pki;
use crate::run::Run;

/// Writes a kubeconfig for the holder of the certificate `name`.
pub fn write(run: &Run, name: &str, file: &Path) -> Result<()> {
    let pki = Pki::of(run);
    let context = format!("carafe-{}", run.id());
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {
            "server": format!("https://{}:6443", run.host_address()),
            "certificate-authority": pki.authority(),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate": pki.certificate(name),
            "client-key": pki.key(name),
        }}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": name}}],
        "current-context": context,
    });
    fs::write(file, serde_json::to_vec_pretty(&config)?)?;
    Ok(())
}
