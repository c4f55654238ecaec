//! This file knows which public types share a name, and which may.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, Visibility};

use super::Complaint;
use crate::tree::Tree;

/// Where names that may stand twice are listed, each in a row of its own: `| Name | why |`.
const GLOSSARY: &str = "docs/GLOSSARY.md";
/// The heading above that table.
const HEADING: &str = "## Names that stand more than once";

pub fn no_public_name_stands_twice(tree: &Tree) -> Vec<Complaint> {
    let allowed = allowed(tree);
    let mut found: BTreeMap<String, Vec<(&str, usize)>> = BTreeMap::new();
    for source in tree.rust.iter().filter(|source| !source.is_test()) {
        for item in &source.syntax.items {
            let (vis, ident) = match item {
                Item::Struct(item) => (&item.vis, &item.ident),
                Item::Enum(item) => (&item.vis, &item.ident),
                Item::Trait(item) => (&item.vis, &item.ident),
                Item::Type(item) => (&item.vis, &item.ident),
                Item::Union(item) => (&item.vis, &item.ident),
                _ => continue,
            };
            if matches!(vis, Visibility::Public(_)) {
                let line = (source.path.as_str(), ident.span().start().line);
                let lines = found.entry(ident.to_string()).or_default();
                // Of two that a feature chooses between, there is one at a time.
                if lines.last().is_none_or(|(path, _)| *path != source.path) {
                    lines.push(line);
                }
            }
        }
    }
    let mut wrong = Vec::new();
    for name in allowed.difference(&found.keys().cloned().collect()) {
        wrong.push(Complaint::new(
            GLOSSARY,
            0,
            format!("allows the name {name}, which no public type has: take it out"),
        ));
    }
    for (name, lines) in found
        .iter()
        .filter(|(name, lines)| lines.len() > 1 && !allowed.contains(*name))
    {
        for (path, line) in lines {
            let what = format!(
                "{name} is the name of {} public types: say which, or list it in {GLOSSARY}",
                lines.len()
            );
            wrong.push(Complaint::new(path, *line, what));
        }
    }
    wrong
}

fn allowed(tree: &Tree) -> BTreeSet<String> {
    let text = tree.files.get(GLOSSARY).map_or("", String::as_str);
    let rows = text
        .lines()
        .skip_while(|line| *line != HEADING)
        .skip(1)
        .take_while(|line| !line.starts_with('#'));
    let names = rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    const GLOSSARY_TEXT: &str =
        "# Glossary\n\n## Names that stand more than once\n\n| name | why |\n|---|---|\n| `Input` | machines |\n";

    #[test]
    fn a_name_that_stands_twice_is_told_on_both_lines() {
        let files = [
            ("a/src/x.rs", "pub struct Kind;\npub enum Input {}"),
            ("b/src/y.rs", "\npub enum Kind {}\npub struct Input;\nstruct Private;"),
            ("b/src/z.rs", "struct Private;\npub(crate) struct Kind;"),
            (GLOSSARY, GLOSSARY_TEXT),
        ];
        let complaints = no_public_name_stands_twice(&tree_of(&files));
        let lines: Vec<_> = complaints.iter().map(|it| (it.path.as_str(), it.line)).collect();
        assert_eq!(lines, [("a/src/x.rs", 1), ("b/src/y.rs", 2)]);
    }

    #[test]
    fn a_name_that_nobody_has_is_not_allowed() {
        let complaints = no_public_name_stands_twice(&tree_of(&[(GLOSSARY, GLOSSARY_TEXT)]));
        assert_eq!(complaints.len(), 1);
    }
}
