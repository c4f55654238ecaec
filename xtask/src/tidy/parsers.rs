//! This file knows which functions read bytes from outside, and whether each is fuzzed.
//!
//! A function reads bytes from outside if its name says that it reads (`decode`, `parse`, `read`, `inspect`, …), it
//! takes bytes, and it may refuse them. Each has a row in `fuzz/README.md`: the target that feeds it, or why there is
//! none yet.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};
use syn::{FnArg, ReturnType, Signature, Type};

use super::Complaint;
use crate::tree::Tree;

/// Where the rows stand: `| [function] | [target, or why not yet] |`, the function as `path/of/file.rs name`.
const ROWS: &str = "fuzz/README.md";
/// How the names of readers begin.
const VERBS: [&str; 7] = ["decode", "parse", "read", "inspect", "access", "open", "from_bytes"];
/// Crates whose bytes come from peers, clients, disks and people. The others read what we made ourselves.
const CRATES: [&str; 7] = ["types", "net", "store", "core", "engine", "node", "kzg-pipeline"];

pub fn every_parser_is_fuzzed_or_says_why_not(tree: &Tree) -> Vec<Complaint> {
    let rows = rows(tree);
    let mut wrong = Vec::new();
    let mut readers = BTreeSet::new();
    for source in tree
        .rust
        .iter()
        .filter(|source| !source.is_test() && CRATES.contains(&source.crate_folder()))
    {
        let mut found = Readers::default();
        found.visit_file(&source.syntax);
        for (name, line) in found.found {
            let function = format!("{} {name}", source.path);
            if !rows.contains(&function) {
                let what =
                    format!("{name} reads bytes from outside: give it a row in {ROWS}, with its target or why not yet");
                wrong.push(Complaint::new(&source.path, line, what));
            }
            readers.insert(function);
        }
    }
    let gone = rows.difference(&readers);
    wrong.extend(gone.map(|row| Complaint::new(ROWS, 0, format!("has a row for {row}, which is no reader any more"))));
    wrong
}

fn rows(tree: &Tree) -> BTreeSet<String> {
    let text = tree.files.get(ROWS).map_or("", String::as_str);
    let rows = text.lines().filter_map(|line| {
        let (function, why) = line.strip_prefix("| `")?.split_once("` | ")?;
        let is_said = why.trim_end_matches('|').trim().len() > 2;
        (is_said && function.contains(".rs ")).then(|| function.to_owned())
    });
    rows.collect()
}

#[derive(Default)]
struct Readers {
    found: Vec<(String, usize)>,
}

impl Readers {
    fn look(&mut self, signature: &Signature) {
        let name = signature.ident.to_string();
        let says_so = VERBS.iter().any(|verb| {
            name.strip_prefix(verb)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        });
        let takes_bytes = signature.inputs.iter().any(|input| match input {
            FnArg::Typed(argument) => is_bytes(&argument.ty),
            FnArg::Receiver(_) => false,
        });
        if says_so && takes_bytes && may_refuse(&signature.output) {
            self.found.push((name, signature.ident.span().start().line));
        }
    }
}

fn is_bytes(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => is_bytes(&reference.elem),
        Type::Slice(slice) => matches!(&*slice.elem, Type::Path(path) if path.path.is_ident("u8")),
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| matches!(last.ident.to_string().as_str(), "Bytes" | "Answer")),
        _ => false,
    }
}

fn may_refuse(output: &ReturnType) -> bool {
    let ReturnType::Type(_, ty) = output else { return false };
    let Type::Path(path) = &**ty else { return false };
    path.path
        .segments
        .last()
        .is_some_and(|last| last.ident == "Result" || last.ident == "Option")
}

impl<'ast> Visit<'ast> for Readers {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.look(&function.sig);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.look(&function.sig);
        visit::visit_impl_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    const README: &str =
        "| function | target |\n|---|---|\n| `net/src/x.rs decode` | `frames` |\n| `net/src/x.rs read_two` | |\n";

    #[test]
    fn a_reader_without_a_row_is_told() {
        let source = "fn decode(bytes: &[u8]) -> Option<u8> { None }\n\
                      struct A;\n\
                      impl A { fn read_two(&self, bytes: &Bytes) -> Result<(), E> { Ok(()) } }\n\
                      fn read_height(height: u64) -> Option<u8> { None }\n\
                      fn decoder(bytes: &[u8]) -> Option<u8> { None }\n";
        let complaints = every_parser_is_fuzzed_or_says_why_not(&tree_of(&[("net/src/x.rs", source), (ROWS, README)]));
        let lines: Vec<_> = complaints.iter().map(|complaint| complaint.line).collect();
        assert_eq!(lines, [3], "an empty row says nothing: {complaints:?}");
    }

    #[test]
    fn a_row_without_its_reader_is_told() {
        let complaints = every_parser_is_fuzzed_or_says_why_not(&tree_of(&[(ROWS, README)]));
        assert_eq!(complaints.len(), 1, "{complaints:?}");
    }
}
