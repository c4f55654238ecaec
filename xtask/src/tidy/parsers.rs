//! This file knows which functions read bytes from outside, and whether each is fuzzed.
//!
//! A function reads bytes from outside if its name says that it reads (`decode`, `parse`, `read`, `inspect`, …), it
//! takes bytes or a stream of them, and it may refuse them. So does one that a macro makes, by its name alone. Each has
//! a row in `fuzz/README.md`: the target that feeds it, or why there is none yet.

use std::collections::BTreeSet;

use proc_macro2::TokenTree;
use syn::visit::{self, Visit};
use syn::{FnArg, ReturnType, Signature, Type, TypeParam, TypeParamBound};

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
        let why = why.trim_end_matches('|').trim();
        let target = why.strip_prefix('`').and_then(|rest| rest.split('`').next());
        let is_there = |target| tree.files.contains_key(&format!("fuzz/fuzz_targets/{target}.rs"));
        let is_said = target.map_or(why.starts_with("none") && why.len() > 10, is_there);
        (is_said && function.contains(".rs ")).then(|| function.to_owned())
    });
    rows.collect()
}

#[derive(Default)]
struct Readers {
    found: Vec<(String, usize)>,
    /// The type whose `impl` is read, if any.
    of: String,
}

impl Readers {
    fn look(&mut self, signature: &Signature) {
        let name = signature.ident.to_string();
        let takes_bytes = signature.inputs.iter().any(|input| match input {
            FnArg::Typed(argument) => is_bytes(&argument.ty),
            // Such a type is bytes under another name.
            FnArg::Receiver(_) => self.of.starts_with("Raw"),
        });
        let takes_stream = signature.generics.type_params().any(is_stream);
        if is_reading(&name) && (takes_bytes || takes_stream) && may_refuse(&signature.output) {
            self.found.push((name, signature.ident.span().start().line));
        }
    }
}

fn is_bytes(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => is_bytes(&reference.elem),
        Type::Slice(slice) => is_byte(&slice.elem),
        Type::Array(array) => is_byte(&array.elem),
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| matches!(last.ident.to_string().as_str(), "Bytes" | "Answer" | "AlignedVec")),
        _ => false,
    }
}

fn is_byte(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("u8"))
}

/// Whether a type parameter is a stream of bytes.
fn is_stream(parameter: &TypeParam) -> bool {
    let traits = parameter.bounds.iter().filter_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    });
    let mut names = traits.map(|last| last.ident.to_string());
    names.any(|name| matches!(name.as_str(), "AsyncRead" | "Read" | "BufRead"))
}

fn is_reading(name: &str) -> bool {
    VERBS.iter().any(|verb| {
        name.strip_prefix(verb)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
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

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let name = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.of = name.unwrap_or_default();
        visit::visit_item_impl(self, item);
        self.of.clear();
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        // A definition has a name; what it is invoked with names what it makes.
        for tree in item.mac.tokens.clone().into_iter().filter(|_| item.ident.is_none()) {
            if let TokenTree::Ident(ident) = tree
                && is_reading(&ident.to_string())
            {
                self.found.push((ident.to_string(), ident.span().start().line));
            }
        }
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
                      fn decoder(bytes: &[u8]) -> Option<u8> { None }\n\
                      async fn read_x<R: AsyncRead + Unpin>(from: &mut R) -> Result<(), E> { Ok(()) }\n\
                      codec!(x_frame, read_message, X);\n\
                      impl RawX { fn open(self) -> Result<X, E> { x() } }\n\
                      fn parse(bytes: [u8; 8]) -> Result<X, E> { x() }\n";
        let files = [
            ("net/src/x.rs", source),
            (ROWS, README),
            ("fuzz/fuzz_targets/frames.rs", ""),
        ];
        let complaints = every_parser_is_fuzzed_or_says_why_not(&tree_of(&files));
        let lines: Vec<_> = complaints.iter().map(|complaint| complaint.line).collect();
        assert_eq!(lines, [3, 6, 7, 8, 9], "an empty row says nothing: {complaints:?}");
    }

    #[test]
    fn a_row_without_its_reader_is_told() {
        let complaints =
            every_parser_is_fuzzed_or_says_why_not(&tree_of(&[(ROWS, README), ("fuzz/fuzz_targets/frames.rs", "")]));
        assert_eq!(complaints.len(), 1, "{complaints:?}");
    }
}
