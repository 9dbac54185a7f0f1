//! What the tables are called: a schema before them, a prefix in them.

/// The URL's `search_path` and `table_prefix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// The schema that holds the tables; `None` means the server's default.
    pub(crate) schema: Option<String>,
    /// What distinguishes this volume's tables in a shared schema, as the peer has it:
    /// `jfs_node` is `jfs_<prefix>_node`.
    pub(crate) prefix: Option<String>,
}

impl Names {
    /// The names, if the parts are plain identifiers.
    pub(crate) fn new(schema: Option<String>, prefix: Option<String>) -> Result<Self, String> {
        for (what, part) in [("search_path", &schema), ("table_prefix", &prefix)] {
            let is_plain = |part: &String| {
                let is_plain = |char: char| char.is_alphanumeric() || "_-$".contains(char);
                !part.is_empty() && part.chars().all(is_plain)
            };
            if !part.as_ref().is_none_or(is_plain) {
                return Err(format!(
                    "{what} must be one plain name of letters, digits, _, - or $"
                ));
            }
        }
        Ok(Self { schema, prefix })
    }

    /// A table's name in the catalogue.
    pub(crate) fn table(&self, table: &str) -> String {
        Self {
            schema: None,
            ..self.clone()
        }
        .render(table)
    }

    /// A text with its tables' names in full. Names in quotes, or within a longer
    /// name (an index's), get no schema.
    pub(crate) fn render(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 64);
        let mut rest = text;
        while let Some((at, stem)) = next_name(rest) {
            let (before, behind) = rest.split_at(at);
            out += before;
            let is_whole = !out.ends_with(|char: char| {
                char.is_alphanumeric() || matches!(char, '_' | '`' | '"' | '\'' | '.')
            });
            if let Some(schema) = self.schema.as_ref().filter(|_| is_whole) {
                out.extend(["\"", schema.as_str(), "\"."]);
            }
            out += stem;
            if let Some(prefix) = &self.prefix {
                out += prefix;
                out.push('_');
            }
            rest = &behind[stem.len()..];
        }
        out + rest
    }
}

fn next_name(text: &str) -> Option<(usize, &'static str)> {
    ["jfs_", "carafe_"]
        .into_iter()
        .filter_map(|stem| text.find(stem).map(|at| (at, stem)))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_in_full() {
        let names = Names::new(Some("s".into()), Some("v1".into())).unwrap();
        let text = "CREATE INDEX \"IDX_jfs_edge_inode\" ON jfs_edge (inode); carafe_op.slot";
        assert_eq!(
            names.render(text),
            "CREATE INDEX \"IDX_jfs_v1_edge_inode\" ON \"s\".jfs_v1_edge (inode); \"s\".carafe_v1_op.slot"
        );
        assert_eq!(names.table("jfs_node"), "jfs_v1_node");
        assert_eq!(Names::default().render(text), text);
        assert!(Names::new(Some("a,b".into()), None).is_err());
        assert!(Names::new(None, Some("a\"b".into())).is_err());
    }
}
