//! This file knows where unsafe code may stand.

use syn::visit::{self, Visit};

use super::Complaint;
use crate::tree::Tree;

/// Files that may have unsafe code, each with what it is for.
const LISTED: [(&str, &str); 13] = [
    (
        "kzg-pipeline/src/challenge/avx2.rs",
        "hashing eight challenges at a time",
    ),
    (
        "kzg-pipeline/src/challenge/avx512.rs",
        "hashing sixteen challenges at a time",
    ),
    ("kzg-pipeline/src/challenge/blst.rs", "blst's own SHA-256"),
    (
        "kzg-pipeline/src/challenge/extension.rs",
        "the processor's SHA extension",
    ),
    ("kzg-pipeline/src/field/mulx.rs", "field multiplication by MULX and ADX"),
    ("kzg-pipeline/src/fixtures/by_blst.rs", "test points, made by blst"),
    ("kzg-pipeline/src/group.rs", "blst's points and pairing"),
    ("kzg-pipeline/src/simd/avx2.rs", "vectors of 256 bits"),
    ("kzg-pipeline/src/simd/avx512.rs", "vectors of 512 bits"),
    ("runtime/src/ring.rs", "asking the kernel for a ring"),
    ("runtime/src/signals.rs", "dispositions of signals"),
    ("store/src/mapped.rs", "the memory map"),
    ("store/src/mapped/fault.rs", "pages of the map that cannot be read"),
];

pub fn unsafe_code_stands_in_listed_files(tree: &Tree) -> Vec<Complaint> {
    let mut wrong = Vec::new();
    let mut used = vec![false; LISTED.len()];
    for source in &tree.rust {
        let mut unsafety = Unsafety::default();
        unsafety.visit_file(&source.syntax);
        if unsafety.lines.is_empty() {
            continue;
        }
        match LISTED.iter().position(|(listed, _)| source.path == *listed) {
            Some(index) => used[index] = true,
            None => wrong.extend(unsafety.lines.iter().map(|line| {
                let what = "has unsafe code, and is not among the files that may (xtask/src/tidy/unsafety.rs)";
                Complaint::new(&source.path, *line, what)
            })),
        }
    }
    let unused = LISTED
        .iter()
        .zip(used)
        .filter(|(_, used)| !used && tree.files.len() > 100);
    wrong.extend(unused.map(|((listed, _), _)| Complaint::new(listed, 0, "is listed for unsafe code and has none")));
    wrong
}

#[derive(Default)]
struct Unsafety {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Unsafety {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.lines.push(block.unsafe_token.span.start().line);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.lines.extend(item.unsafety.map(|token| token.span.start().line));
        visit::visit_item_impl(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.lines.push(item.abi.extern_token.span.start().line);
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.lines.extend(item.unsafety.map(|token| token.span.start().line));
        visit::visit_item_trait(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("unsafe") {
            self.lines.push(attribute.pound_token.span.start().line);
        }
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        // What a macro takes is not parsed; the word is enough.
        let has_unsafe = |tree: proc_macro2::TokenTree| holds(tree, "unsafe");
        if invoked.tokens.clone().into_iter().any(has_unsafe) {
            self.lines.push(invoked.path.segments[0].ident.span().start().line);
        }
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.lines
            .extend(signature.unsafety.map(|token| token.span.start().line));
        visit::visit_signature(self, signature);
    }
}

fn holds(tree: proc_macro2::TokenTree, word: &str) -> bool {
    match tree {
        proc_macro2::TokenTree::Ident(ident) => ident == word,
        proc_macro2::TokenTree::Group(group) => group.stream().into_iter().any(|tree| holds(tree, word)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    #[test]
    fn every_form_of_unsafe_is_seen() {
        let files = [(
            "a/src/x.rs",
            "fn a() {\n unsafe { b() } }\nunsafe fn b() {}\nunsafe impl Send for A {}\n// unsafe\nstruct A;\n\
             unsafe extern \"C\" {}\nunsafe trait T {}\n#[unsafe(no_mangle)]\nfn c() {}\nx!(a { unsafe {} });\n",
        )];
        let lines: Vec<_> = unsafe_code_stands_in_listed_files(&tree_of(&files))
            .iter()
            .map(|it| it.line)
            .collect();
        assert_eq!(lines, [2, 3, 4, 7, 8, 9, 11]);
    }
}
