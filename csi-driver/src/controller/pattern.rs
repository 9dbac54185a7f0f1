//! `pathPattern`: where in the file system a claim's directory lies.
//!
//! `${.pvc.namespace}`, `${.pvc.name}`, `${.pv.name}`, `${.pvc.labels.<key>}` and
//! `${.pvc.annotations.<key>}` stand for what they say; all else stands for itself.
//! The first two words may be in capitals, as JuiceFS allows.

use std::collections::BTreeMap;

/// What a pattern can name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The PersistentVolume's name.
    pub volume: String,
    /// The claim's namespace, if the provisioner says it.
    pub namespace: Option<String>,
    /// The claim's name, if the provisioner says it.
    pub claim: Option<String>,
    /// The claim's labels and annotations, if they were asked for.
    pub tags: Option<Tags>,
}

/// A claim's labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Why a pattern gives no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `${` without its `}`.
    #[error("pathPattern: \"${{\" without \"}}\" in {0:?}")]
    Open(String),
    /// Something that cannot be named.
    #[error(
        "pathPattern: ${{{0}}} is not known: use .pvc.namespace, .pvc.name, .pv.name, .pvc.labels.<key> or .pvc.annotations.<key>"
    )]
    Unknown(String),
    /// The claim does not have it, or the provisioner did not say it.
    #[error("pathPattern: ${{{0}}} has no value: {1}")]
    Missing(String, &'static str),
}

/// Whether the pattern needs the claim's labels or annotations.
pub(super) fn needs_tags(pattern: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    pattern.contains("${.pvc.labels.") || pattern.contains("${.pvc.annotations.")
}

/// Fills in a pattern. What comes of it is a path only if the metadata engine says so.
pub(super) fn fill(pattern: &str, names: &Names) -> Result<String, PatternError> {
    let mut path = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, tail) = after
            .split_once('}')
            .ok_or_else(|| PatternError::Open(pattern.to_owned()))?;
        path.push_str(before);
        path.push_str(&value(name.trim(), names)?);
        rest = tail;
    }
    path.push_str(rest);
    Ok(path.trim_matches('/').to_owned())
}

fn value(name: &str, names: &Names) -> Result<String, PatternError> {
    const ASK: &str = "run the provisioner with --extra-create-metadata";
    const NONE: &str = "the claim does not have it";
    let unknown = || PatternError::Unknown(name.to_owned());
    let missing = |why| PatternError::Missing(name.to_owned(), why);
    let mut words = name.strip_prefix('.').ok_or_else(unknown)?.splitn(3, '.');
    let object = words.next().unwrap_or_default().to_ascii_lowercase();
    let field = words.next().unwrap_or_default();
    let value = match (object.as_str(), field, words.next()) {
        ("pv", "name", None) => Some(names.volume.clone()),
        ("pvc", "name", None) => Some(names.claim.clone().ok_or_else(|| missing(ASK))?),
        ("pvc", "namespace", None) => Some(names.namespace.clone().ok_or_else(|| missing(ASK))?),
        ("pvc", "labels", Some(key)) => names
            .tags
            .as_ref()
            .and_then(|tags| tags.labels.get(key))
            .cloned(),
        ("pvc", "annotations", Some(key)) => names
            .tags
            .as_ref()
            .and_then(|tags| tags.annotations.get(key))
            .cloned(),
        _ => return Err(unknown()),
    };
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| missing(NONE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        Names {
            volume: "pvc-1".into(),
            namespace: Some("team".into()),
            claim: Some("data".into()),
            tags: Some(Tags {
                labels: BTreeMap::from([("app.kubernetes.io/name".into(), "web".into())]),
                annotations: BTreeMap::from([("tier".into(), "gold".into())]),
            }),
        }
    }

    #[test]
    fn names_labels_and_annotations_are_filled_in() {
        let pattern = "/x/${.PVC.namespace}/${.pvc.name}-${.pv.name}/${.pvc.labels.app.kubernetes.io/name}/${.pvc.annotations.tier}";
        assert_eq!(
            fill(pattern, &names()).unwrap(),
            "x/team/data-pvc-1/web/gold"
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert_eq!(
            fill("${.pvc.labels.nope}", &names()),
            Err(PatternError::Missing(
                ".pvc.labels.nope".into(),
                "the claim does not have it"
            ))
        );
        assert!(matches!(
            fill("${.node.name}", &names()),
            Err(PatternError::Unknown(_))
        ));
        assert!(matches!(
            fill("a/${.pv.name", &names()),
            Err(PatternError::Open(_))
        ));
        assert!(matches!(
            fill("${.pvc.name}", &Names::default()),
            Err(PatternError::Missing(_, _))
        ));
    }

    #[test]
    fn only_tags_need_the_claim() {
        assert!(needs_tags("${.PVC.labels.x}") && !needs_tags("${.pvc.name}/labels"));
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in "[${}.a-z/]{0,40}") {
            let _ = fill(&pattern, &names());
        }

        #[test]
        fn a_pattern_without_names_is_itself(pattern in "[a-z]{1,10}(/[a-z]{1,10}){0,3}") {
            prop_assert_eq!(fill(&pattern, &Names::default()).unwrap(), pattern);
        }
    }
}
