//! This file knows paths that only one machine has.

use super::Complaint;
use crate::tree::Tree;

/// How such paths begin. In halves, or this file would have them.
const BEGINNINGS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/ho", "me/"),
    concat!("/tm", "p/"),
];

pub fn no_path_is_of_one_machine(tree: &Tree) -> Vec<Complaint> {
    let mut wrong = Vec::new();
    for (path, text) in tree.files.iter().filter(|(path, _)| !path.ends_with(".lock")) {
        for (index, line) in text.lines().enumerate() {
            let found = BEGINNINGS.iter().find(|beginning| has(line, beginning));
            if let Some(found) = found {
                wrong.push(Complaint::new(
                    path,
                    index + 1,
                    format!("names a path under {found}, which only one machine has"),
                ));
            }
        }
    }
    wrong
}

/// Whether a path begins so; `a/tmp/b` does not.
fn has(line: &str, beginning: &str) -> bool {
    line.match_indices(beginning).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "}_-.".contains(character))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    #[test]
    fn a_path_of_a_machine_is_told_wherever_it_stands() {
        let home = concat!("See /ho", "me/me/notes.\n");
        let complaints = no_path_is_of_one_machine(&tree_of(&[("README.md", home), ("Cargo.lock", home)]));
        assert_eq!((complaints.len(), complaints[0].line), (1, 1));
        let inner = concat!("target/tm", "p/x and $HOME/tm", "p/");
        assert_eq!(no_path_is_of_one_machine(&tree_of(&[("a.md", inner)])).len(), 0);
    }
}
