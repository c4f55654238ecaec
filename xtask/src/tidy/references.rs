//! This file knows what comments and documents point at, and whether it is there.

use super::Complaint;
use crate::tree::Tree;

/// Documents that no reader of this repository has.
const ELSEWHERE: [&str; 2] = ["(design, section", "design, section"];
/// Documents of promises, each with the test that holds it.
const PROMISES: [&str; 4] = [
    "ARCHITECTURE.md",
    "docs/STORE-CLAIMS.md",
    "docs/LIVENESS.md",
    "store/FORMAT.md",
];
/// Endings of files that are named in prose.
const ENDINGS: [&str; 4] = [".rs", ".md", ".toml", ".hgrm"];

/// Files named in comments and documents, whole or by the end of their path.
pub fn no_file_is_named_that_is_not_there(tree: &Tree) -> Vec<Complaint> {
    let mut wrong = Vec::new();
    for (path, line, text) in prose(tree) {
        if ELSEWHERE.iter().any(|phrase| text.contains(phrase)) {
            wrong.push(Complaint::new(
                path,
                line,
                "cites a document that no reader has: say what it says",
            ));
        }
        for name in text.split('`').skip(1).step_by(2).filter(|name| is_file_name(name)) {
            let end = format!("/{}", name.trim_start_matches("../"));
            let is_there = tree.files.keys().any(|file| format!("/{file}").ends_with(&end));
            if !is_there {
                wrong.push(Complaint::new(
                    path,
                    line,
                    format!("names `{name}`, which is not there"),
                ));
            }
        }
    }
    wrong
}

fn is_file_name(name: &str) -> bool {
    let is_path = |character: char| character.is_ascii_alphanumeric() || "_-./".contains(character);
    // What a home holds, and a chapter of the consensus specification, are no files of ours.
    let is_written = matches!(name, "config.toml" | "polynomial-commitments.md");
    ENDINGS
        .iter()
        .any(|ending| name.len() > ending.len() && name.ends_with(ending))
        && name.chars().all(is_path)
        && !is_written
}

/// Tests that documents name as the holders of a claim: names of three words or more, alone or `in` a file.
pub fn no_test_is_named_that_is_not_there(tree: &Tree) -> Vec<Complaint> {
    let mut wrong = Vec::new();
    let claims =
        |path: &str| path.ends_with(".md") && (path.starts_with("docs/decisions/") || PROMISES.contains(&path));
    for (path, line, text) in prose(tree).filter(|(path, ..)| claims(path)) {
        for (name, file) in tests_named(text) {
            let begins = format!("fn {name}(");
            let is_meant = |source: &str| file.is_none_or(|file| source.ends_with(file));
            let mut sources = tree.rust.iter().filter(|source| is_meant(&source.path));
            if !sources.any(|source| source.text.contains(&begins)) {
                let place = file.map_or(String::new(), |file| format!(" in `{file}`"));
                let what = format!("names the test `{name}`{place}, which is not there");
                wrong.push(Complaint::new(path, line, what));
            }
        }
    }
    wrong
}

/// The tests that a line names, each with the file that it names behind them after *in*, if it does.
fn tests_named(text: &str) -> Vec<(&str, Option<&str>)> {
    let (mut tests, mut without_file) = (Vec::new(), 0);
    let mut pieces = text.split('`');
    while let (Some(before), Some(quoted)) = (pieces.next(), pieces.next()) {
        if is_test_name(quoted) {
            tests.push((quoted, None));
        } else if quoted.ends_with(".rs") {
            if before == " in " {
                tests[without_file..]
                    .iter_mut()
                    .for_each(|(_, file)| *file = Some(quoted));
            }
            without_file = tests.len();
        }
    }
    tests
}

fn is_test_name(name: &str) -> bool {
    let is_of_one = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    name.matches('_').count() >= 2 && name.chars().all(is_of_one) && !name.starts_with("ultramarine_")
}

/// Links between documents, with their headings.
pub fn no_link_leads_nowhere(tree: &Tree) -> Vec<Complaint> {
    let mut wrong = Vec::new();
    for (path, text) in tree.files.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (index, line) in text.lines().enumerate() {
            for target in targets(line) {
                if let Some(what) = fault(tree, path, target) {
                    wrong.push(Complaint::new(path, index + 1, format!("links to {target}, {what}")));
                }
            }
        }
    }
    wrong
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

fn fault(tree: &Tree, from: &str, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() {
        from.to_owned()
    } else {
        joined(from, file)
    };
    let is_folder = tree
        .files
        .keys()
        .any(|path| path.starts_with(&format!("{}/", file.trim_end_matches('/'))));
    let Some(text) = tree.files.get(&file) else {
        return (!is_folder).then_some("which is not there");
    };
    let slug = |line: &str| -> String {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|character| character.is_alphanumeric() || " -_".contains(*character));
        kept.map(|character| if character == ' ' { '-' } else { character })
            .collect()
    };
    let has_heading = text.lines().any(|line| line.starts_with('#') && slug(line) == heading);
    (!heading.is_empty() && file.ends_with(".md") && !has_heading).then_some("a heading that is not there")
}

/// The path of what a link in `from` names.
fn joined(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Every line of a document, and of a comment.
fn prose(tree: &Tree) -> impl Iterator<Item = (&str, usize, &str)> {
    tree.files.iter().flat_map(|(path, text)| {
        let (is_rust, is_document) = (path.ends_with(".rs"), path.ends_with(".md"));
        let lines = text
            .lines()
            .enumerate()
            .filter(move |(_, line)| is_document || (is_rust && line.trim_start().starts_with("//")));
        lines.map(move |(index, line)| (path.as_str(), index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    #[test]
    fn a_file_that_is_not_there_is_told() {
        let text = "//! See `y.rs`, `src/y.rs`, `z.rs` and `config.toml`.\n// (design, section 6.3)\nconst A: &str = \
            \"`z.rs`\";";
        let complaints = no_file_is_named_that_is_not_there(&tree_of(&[("a/src/x.rs", text), ("a/src/y.rs", "")]));
        let lines: Vec<_> = complaints.iter().map(|complaint| complaint.line).collect();
        assert_eq!(lines, [1, 2], "{complaints:?}");
    }

    #[test]
    fn a_test_that_is_not_there_is_told() {
        let text = "Held by `a_claim_holds`, `another_claim_holds`, `ultramarine_lines_lost_total`.";
        let files = [
            ("docs/decisions/0001-x.md", text),
            ("a/src/x.rs", "#[test]\nfn a_claim_holds() {}"),
        ];
        let complaints = no_test_is_named_that_is_not_there(&tree_of(&files));
        assert_eq!(complaints.len(), 1, "{complaints:?}");
    }

    #[test]
    fn a_test_that_is_in_another_file_than_named_is_told() {
        let text = "`one_claim_holds`, `two_claims_hold` in `a/src/x.rs`, `one_claim_holds` in `src/y.rs`, \
            `one_claim_holds` and a law in `src/y.rs`, `two_claims_hold` in `a/src/y.rs`.";
        let files = [
            ("store/FORMAT.md", text),
            ("a/src/x.rs", "fn one_claim_holds() {}"),
            ("a/src/y.rs", "fn two_claims_hold() {}"),
        ];
        let complaints = no_test_is_named_that_is_not_there(&tree_of(&files));
        let texts: Vec<_> = complaints.iter().map(|complaint| complaint.what.as_str()).collect();
        assert_eq!(
            texts,
            [
                "names the test `two_claims_hold` in `a/src/x.rs`, which is not there",
                "names the test `one_claim_holds` in `src/y.rs`, which is not there"
            ]
        );
    }

    #[test]
    fn a_link_and_its_heading_are_followed() {
        let text = "[a](b.md) [b](b.md#how-it-is) [c](#nowhere) [d](../x.md) [e](https://a.b/c) [f](d/)\n";
        let files = [("d/a.md", text), ("d/b.md", "## How it is\n"), ("d/d/e.md", "")];
        let complaints = no_link_leads_nowhere(&tree_of(&files));
        let texts: Vec<_> = complaints.iter().map(|complaint| complaint.what.as_str()).collect();
        assert_eq!(
            texts,
            [
                "links to #nowhere, a heading that is not there",
                "links to ../x.md, which is not there"
            ]
        );
    }
}
