//! Tests that documents name, as `file::function`, exist and are run.

use std::{fs, path::Path};

const DOCUMENTS: [&str; 2] = ["docs/semantics.md", "docs/compatibility.md"];

/// The tests that a document names: file and function.
fn named(text: &str) -> Vec<(&str, &str)> {
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .filter_map(|span| span.split_once("::"))
        .filter(|(file, _)| Path::new(file).extension().is_some_and(|ext| ext == "rs"))
        .collect()
}

/// Whether a file has a function that is a test, or that a list of a macro makes one.
fn is_run(source: &str, function: &str) -> bool {
    let heading = format!("fn {function}");
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let is_word =
        |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let defined = lines.iter().position(|line| {
        let rest = line.split_once(&heading).map(|(_, rest)| rest);
        rest.is_some_and(is_word)
    });
    let Some(defined) = defined else {
        return false;
    };
    let is_test = |line: &&str| line.contains("test]") || line.contains("test(");
    let is_listed = |line: &&str| {
        let words: Vec<_> = line.split([' ', ',', ';', '(']).collect();
        !line.contains("fn ") && words.contains(&function)
    };
    let before = &lines[defined.saturating_sub(3)..defined];
    before.iter().any(is_test) || lines.iter().any(is_listed)
}

#[test]
fn every_test_that_a_document_names_is_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let tests = named(&text);
        assert!(tests.len() > 10, "{document} names its tests");
        for (file, function) in tests {
            let source = fs::read_to_string(root.join(file)).unwrap_or_default();
            if !is_run(&source, function) {
                missing.push(format!("{document}: {file}::{function}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
}

#[test]
fn only_what_is_run_counts() {
    let source = "#[test]\nfn plain() {}\n\nlist! {\n    listed(format(0));\n}\nasync fn listed(volume: Volume) {}\nfn helper() {}\nfn plain_too() {}\n";
    for (function, expected) in [
        ("plain", true),
        ("listed", true),
        ("helper", false),
        ("plain_to", false),
        ("absent", false),
    ] {
        assert_eq!(is_run(source, function), expected, "{function}");
    }
}
