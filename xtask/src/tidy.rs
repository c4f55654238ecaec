//! This file knows the rules of the tree, and where one is broken.
//!
//! Every rule is a function from the [`Tree`] to complaints, with a test that shows it failing. `every_rule_holds_here`
//! runs them all over this very tree, so CI does too.

pub mod circles;
pub mod english;
mod heads;
mod machine;
mod names;
mod parsers;
mod references;
mod shape;
mod unsafety;
mod watching;

use std::fmt;

use crate::tree::Tree;

/// A line where a rule is broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// The file, from the root.
    pub path: String,
    /// Its line, from 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Complaint {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

type Rule = fn(&Tree) -> Vec<Complaint>;

const RULES: [Rule; 16] = [
    shape::files_are_short,
    shape::lines_are_short,
    circles::no_files_import_each_other,
    names::no_public_name_stands_twice,
    heads::every_module_says_what_it_knows,
    parsers::every_parser_is_fuzzed_or_says_why_not,
    references::no_file_is_named_that_is_not_there,
    references::no_test_is_named_that_is_not_there,
    references::no_link_leads_nowhere,
    unsafety::unsafe_code_stands_in_listed_files,
    machine::no_path_is_of_one_machine,
    watching::every_metric_that_people_watch_exists,
    watching::every_panel_says_what_is_normal,
    watching::every_alert_says_what_to_do_and_is_tested,
    english::comments_are_plain,
    english::documents_are_plain,
];

/// Everything that is wrong, rule by rule.
pub fn complaints(tree: &Tree) -> Vec<Complaint> {
    RULES.iter().flat_map(|rule| rule(tree)).collect()
}

/// A tree of a few files, for the rules' tests.
#[cfg(test)]
fn tree_of(files: &[(&str, &str)]) -> Tree {
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    Tree::of(files).expect("Rust")
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::root;

    #[test]
    fn every_rule_holds_here() {
        let tree = Tree::read(&root()).expect("a repository");
        let complaints = complaints(&tree);
        let lines: Vec<String> = complaints.iter().map(Complaint::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }
}
