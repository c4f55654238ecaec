//! This file knows how a module opens: with a line that says what it knows.

use syn::{Attribute, Expr, Lit, Meta};

use super::Complaint;
use crate::tree::Tree;

pub fn every_module_says_what_it_knows(tree: &Tree) -> Vec<Complaint> {
    let silent = tree.rust.iter().filter(|source| !source.path.ends_with("build.rs"));
    let silent = silent.filter(|source| !source.is_test() || source.path.ends_with("main.rs"));
    let silent = silent.filter(|source| !source.syntax.attrs.iter().any(says_something));
    silent
        .map(|source| Complaint::new(&source.path, 1, "begins without a `//!` line that says what it knows"))
        .collect()
}

fn says_something(attribute: &Attribute) -> bool {
    let Meta::NameValue(named) = &attribute.meta else {
        return false;
    };
    let Expr::Lit(literal) = &named.value else { return false };
    let Lit::Str(text) = &literal.lit else { return false };
    named.path.is_ident("doc") && !text.value().trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    #[test]
    fn a_module_without_a_head_is_told() {
        let files = [
            ("a/src/x.rs", "//! This file knows x.\nfn x() {}"),
            ("a/src/y.rs", "// This file knows y.\nfn y() {}"),
            ("a/src/y/tests.rs", "fn y() {}"),
        ];
        let complaints = every_module_says_what_it_knows(&tree_of(&files));
        assert_eq!(complaints.len(), 1);
        assert_eq!(complaints[0].path, "a/src/y.rs");
    }
}
