//! Where the programs are that `make tools` built.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::shell;

/// The built programs' directories; one per Go module.
#[derive(Debug, Clone)]
pub struct Tools {
    directories: Vec<PathBuf>,
}

impl Tools {
    /// Asks `e2e/tools/install`, which alone knows how they are keyed.
    pub fn find() -> Result<Self> {
        let script = repository().join("e2e/tools/install");
        let path = shell::run(std::process::Command::new(script).arg("--path"))?;
        Ok(Self {
            directories: std::env::split_paths(path.trim()).collect(),
        })
    }

    /// A program's path.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        self.file(name)
            .with_context(|| format!("{name} is not built; run `make tools`"))
    }

    /// The snapshot kinds' YAML.
    pub fn snapshot_crds(&self) -> Result<PathBuf> {
        self.file("crds")
            .context("the snapshot CRDs are missing; run `make tools`")
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.directories
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| path.exists())
    }
}

/// The checkout: charts, scripts and sources are found from here.
pub fn repository() -> PathBuf {
    // The binary runs where it was built; a checkout that moved is named by the variable.
    if let Some(dir) = std::env::var_os("CARAFE_REPOSITORY") {
        return dir.into();
    }
    let crate_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().map_or(crate_dir.clone(), PathBuf::from)
}
