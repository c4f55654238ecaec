//! This file knows how long a file and a line may be.

use super::Complaint;
use crate::tree::Tree;

/// Lines of a file, tests included: a longer one has a noun that wants out.
const LINES_MAX: usize = 600;
/// Characters of a line; `rustfmt.toml` says the same, and holds neither comments nor strings to it.
const CHARACTERS_MAX: usize = 120;

pub fn files_are_short(tree: &Tree) -> Vec<Complaint> {
    let lines = tree.rust.iter().map(|source| (source, source.text.lines().count()));
    lines
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(source, lines)| {
            let what = format!("has {lines} lines; {LINES_MAX} are allowed: look for the noun that wants out");
            Complaint::new(&source.path, 0, what)
        })
        .collect()
}

pub fn lines_are_short(tree: &Tree) -> Vec<Complaint> {
    let mut wrong = Vec::new();
    for source in &tree.rust {
        for (index, line) in source.text.lines().enumerate() {
            let characters = line.chars().count();
            if characters > CHARACTERS_MAX {
                let what = format!("has {characters} characters; {CHARACTERS_MAX} are allowed");
                wrong.push(Complaint::new(&source.path, index + 1, what));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    #[test]
    fn the_line_after_the_last_is_one_too_many() {
        let (whole, long) = ("\n".repeat(LINES_MAX), "\n".repeat(LINES_MAX + 1));
        assert_eq!(files_are_short(&tree_of(&[("a/src/b.rs", &whole)])), []);
        assert_eq!(files_are_short(&tree_of(&[("a/src/b.rs", &long)])).len(), 1);
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        let (whole, long) = (format!("//{}", "é".repeat(118)), format!("//{}", "é".repeat(119)));
        assert_eq!(lines_are_short(&tree_of(&[("a/src/b.rs", &whole)])), []);
        let complaints = lines_are_short(&tree_of(&[("a/src/b.rs", &format!("\n{long}"))]));
        assert_eq!(complaints[0].line, 2);
    }
}
