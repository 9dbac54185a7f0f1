//! A StorageClass's parameters, read once.

use std::collections::HashMap;

/// The parameters of a class, and what the provisioner adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// `pathPattern`: where a claim's directory lies; its volume's name if not given.
    pub path_pattern: Option<String>,
    /// `share`: several claims may have one path.
    pub share: bool,
    /// `inodes`: the limit of files; 0 means none.
    pub inodes: u64,
    /// The claim's namespace.
    pub namespace: Option<String>,
    /// The claim's name.
    pub claim: Option<String>,
    /// Mount options of the class, which the node plugin reads from the volume.
    pub mount_options: Option<String>,
}

/// What is wrong with a class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// Nobody knows it.
    #[error(
        "the StorageClass has a parameter {0:?}, which is not known: use pathPattern, share, inodes or mountOptions"
    )]
    Unknown(String),
    /// Its value cannot be read.
    #[error("the StorageClass's parameter {0} is {1:?}: expected {2}")]
    Value(&'static str, String, &'static str),
}

impl Parameters {
    /// Reads a class. Parameters of JuiceFS's mount pods (`juicefs/…`) are accepted
    /// and mean nothing here.
    pub fn read(parameters: &HashMap<String, String>) -> Result<Self, ParameterError> {
        let mut read = Self::default();
        for (key, value) in parameters {
            match key.as_str() {
                "pathPattern" => {
                    read.path_pattern = Some(value.clone()).filter(|pattern| !pattern.is_empty());
                }
                "share" => read.share = flag("share", value)?,
                "inodes" => read.inodes = number("inodes", value)?,
                "mountOptions" => read.mount_options = Some(value.clone()),
                "csi.storage.k8s.io/pvc/name" => read.claim = Some(value.clone()),
                "csi.storage.k8s.io/pvc/namespace" => read.namespace = Some(value.clone()),
                key if key.starts_with("juicefs/") || key.starts_with("csi.storage.k8s.io/") => {}
                _ => return Err(ParameterError::Unknown(key.clone())),
            }
        }
        Ok(read)
    }

    /// Who asks, for people.
    pub fn owner(&self) -> String {
        match (&self.namespace, &self.claim) {
            (Some(namespace), Some(claim)) => format!("{namespace}/{claim}"),
            _ => String::new(),
        }
    }
}

fn flag(name: &'static str, value: &str) -> Result<bool, ParameterError> {
    value
        .parse()
        .map_err(|_| ParameterError::Value(name, value.to_owned(), "\"true\" or \"false\""))
}

fn number(name: &'static str, value: &str) -> Result<u64, ParameterError> {
    value
        .parse()
        .map_err(|_| ParameterError::Value(name, value.to_owned(), "a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_class_is_read() {
        let read = Parameters::read(&map(&[
            ("pathPattern", "${.pvc.name}"),
            ("share", "true"),
            ("juicefs/mount-cpu-limit", "5000m"),
            ("csi.storage.k8s.io/pvc/name", "data"),
            ("csi.storage.k8s.io/pvc/namespace", "team"),
        ]))
        .unwrap();
        assert!(read.share && read.owner() == "team/data");
    }

    #[test]
    fn a_misspelled_parameter_is_refused() {
        let error = Parameters::read(&map(&[("pathPatern", "x")])).unwrap_err();
        assert!(error.to_string().contains("pathPatern"));
        assert!(Parameters::read(&map(&[("share", "yes")])).is_err());
    }
}
