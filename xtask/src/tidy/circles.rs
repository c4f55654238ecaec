//! This file knows which files of a crate import each other, directly or through others.
//!
//! A module and the modules below it count as one house: the parent names its rooms, and they share its nouns.
//! Tests are left out. What a module imports by another one's `pub use` counts as imported from where it is defined.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Item, UseTree, Visibility};

use super::Complaint;
use crate::tree::{RustFile, Tree};

/// Pairs that are better as they are, with the reason.
const ARGUED: [(&str, &str, &str); 0] = [];

type Module = Vec<String>;

pub fn no_files_import_each_other(tree: &Tree) -> Vec<Complaint> {
    let mut crates: BTreeMap<&str, Vec<&RustFile>> = BTreeMap::new();
    for source in tree.rust.iter().filter(|source| !source.is_test()) {
        let library = format!("{}/src/lib.rs", source.crate_folder());
        // Beside a library, a program is a crate of its own.
        let is_program = source.path.ends_with("/src/main.rs") && tree.files.contains_key(&library);
        if !source.crate_folder().is_empty() && !is_program {
            crates.entry(source.crate_folder()).or_default().push(source);
        }
    }
    crates.into_values().flat_map(|sources| circles_of(&sources)).collect()
}

fn circles_of(sources: &[&RustFile]) -> Vec<Complaint> {
    let paths: BTreeMap<Module, &RustFile> = sources
        .iter()
        .map(|source| (owned(&source.module()), *source))
        .collect();
    let exports: BTreeMap<Module, BTreeMap<String, Module>> = paths
        .iter()
        .map(|(module, source)| (module.clone(), exports(module, source)))
        .collect();
    let mut edges: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (module, source) in &paths {
        let mut named = Named {
            module,
            paths: Vec::new(),
            imported: BTreeMap::new(),
        };
        named.visit_file(&source.syntax);
        let found = named
            .paths
            .iter()
            .filter_map(|path| defined_in(path, &paths, &exports, 0));
        let found = found.filter(|other| !other.starts_with(module) && !module.starts_with(other));
        edges.insert(
            module,
            found
                .filter_map(|other| paths.get_key_value(&other))
                .map(|(key, _)| key)
                .collect(),
        );
    }
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = edges.keys().map(|from| (*from, reached(from, &edges))).collect();
    let mut wrong = Vec::new();
    for (from, direct) in &edges {
        for to in direct {
            // Each circle is told by its imports, each in the file where it stands.
            if reach[to].contains(*from) {
                let (here, there) = (&paths[*from].path, &paths[*to].path);
                if !ARGUED.iter().any(|(one, other, _)| is_pair(here, there, one, other)) {
                    let what = format!("imports {there}, which imports it in turn: move what both need below them");
                    wrong.push(Complaint::new(here, 0, what));
                }
            }
        }
    }
    wrong
}

fn is_pair(here: &str, there: &str, one: &str, other: &str) -> bool {
    (here == one && there == other) || (here == other && there == one)
}

fn reached<'a>(from: &Module, edges: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = edges[from].iter().copied().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(&edges[module]);
        }
    }
    reached
}

fn owned(module: &[&str]) -> Module {
    module.iter().map(|part| (*part).to_owned()).collect()
}

/// What a module hands on by `pub use`: its name here, and the path it stands for.
fn exports(module: &Module, source: &RustFile) -> BTreeMap<String, Module> {
    let mut exports = BTreeMap::new();
    for item in &source.syntax.items {
        let Item::Use(import) = item else { continue };
        if matches!(import.vis, Visibility::Inherited) {
            continue;
        }
        for path in leaves(&import.tree) {
            let name = path.last().cloned().unwrap_or_default();
            exports.insert(name, absolute(module, &path));
        }
    }
    exports
}

/// A path from the crate's root; one that begins with a plain name is one below the module, or of another crate.
fn absolute(module: &Module, path: &[String]) -> Module {
    let mut base = module.clone();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => (base, rest) = (Vec::new(), &path[1..]),
        Some("self") => rest = &path[1..],
        Some("super") => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        _ => {}
    }
    base.extend(rest.iter().cloned());
    base
}

/// The file in which what a path names is defined.
fn defined_in(
    path: &Module,
    files: &BTreeMap<Module, &RustFile>,
    exports: &BTreeMap<Module, BTreeMap<String, Module>>,
    depth: usize,
) -> Option<Module> {
    let known = (0..=path.len())
        .rev()
        .map(|end| &path[..end])
        .find(|start| files.contains_key(*start))?;
    let handed_on = path.get(known.len()).and_then(|name| exports[known].get(name));
    match handed_on {
        // A chain of such names ends; one that does not is no Rust.
        Some(target) if depth < 8 => {
            let mut target = target.clone();
            target.extend(path[known.len() + 1..].iter().cloned());
            defined_in(&target, files, exports, depth + 1)
        }
        _ => Some(known.to_vec()),
    }
}

/// Every path of a `use` tree.
fn leaves(tree: &UseTree) -> Vec<Module> {
    match tree {
        UseTree::Path(path) => {
            let head = path.ident.to_string();
            let below = leaves(&path.tree).into_iter();
            below.map(|rest| [vec![head.clone()], rest].concat()).collect()
        }
        UseTree::Name(name) if name.ident == "self" => vec![Vec::new()],
        UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        UseTree::Rename(name) => vec![vec![name.ident.to_string()]],
        UseTree::Glob(_) => vec![Vec::new()],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// The paths within the crate that a file names.
struct Named<'a> {
    module: &'a Module,
    paths: Vec<Module>,
    /// What names of this file stand for.
    imported: BTreeMap<String, Module>,
}

impl Named<'_> {
    fn add(&mut self, path: &[String]) {
        if path
            .first()
            .is_some_and(|head| matches!(head.as_str(), "crate" | "super" | "self"))
        {
            self.paths.push(absolute(self.module, path));
        }
    }
}

impl<'ast> Visit<'ast> for Named<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        // Within a module of the same file, `super` is this file; and tests may import what they like.
        if module.content.is_none() {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        for path in leaves(&import.tree) {
            self.add(&path);
            if let Some(path) = self.paths.last()
                && let Some(name) = path.last()
            {
                self.imported.insert(name.clone(), path.clone());
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.add(&parts);
        // `medium::try_ring`, where `medium` was imported: what it hands on may stand elsewhere.
        if let [head, rest @ ..] = &parts[..]
            && let Some(imported) = self.imported.get(head)
        {
            self.paths.push([&imported[..], rest].concat());
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    fn complaints(files: &[(&str, &str)]) -> Vec<String> {
        let complaints = no_files_import_each_other(&tree_of(files));
        complaints.into_iter().map(|complaint| complaint.path).collect()
    }

    #[test]
    fn a_loop_is_found_in_each_of_its_files() {
        let files = [
            ("c/src/lib.rs", "mod a; mod b; mod d;"),
            ("c/src/a.rs", "use crate::b::{self, B}; pub struct A;"),
            ("c/src/b.rs", "pub fn f() -> super::d::D { x() }"),
            ("c/src/d.rs", "use crate::a::A; pub struct D;"),
        ];
        assert_eq!(complaints(&files), ["c/src/a.rs", "c/src/b.rs", "c/src/d.rs"]);
        assert_eq!(complaints(&files[..3]), [""; 0]);
    }

    #[test]
    fn what_is_handed_on_belongs_to_where_it_is_defined() {
        let files = [
            ("c/src/lib.rs", "mod a; mod b; pub use a::A;"),
            ("c/src/a.rs", "use crate::b::B; pub struct A;"),
            ("c/src/b.rs", "use crate::A; pub struct B;"),
        ];
        assert_eq!(complaints(&files), ["c/src/a.rs", "c/src/b.rs"]);
    }

    #[test]
    fn what_an_imported_module_hands_on_is_followed() {
        let files = [
            ("c/src/lib.rs", "mod a; mod b;"),
            ("c/src/a.rs", "use crate::b; pub struct A; fn f() { b::g() }"),
            ("c/src/b.rs", "mod x; pub use x::g;"),
            ("c/src/b/x.rs", "use crate::a::A; pub fn g() {}"),
        ];
        assert_eq!(complaints(&files), ["c/src/a.rs", "c/src/b/x.rs"]);
    }

    #[test]
    fn a_parent_and_tests_are_no_circle() {
        let files = [
            ("c/src/lib.rs", "mod a; mod b;"),
            ("c/src/a.rs", "mod x; use crate::a::x::X; pub struct A;"),
            ("c/src/a/x.rs", "use super::A; pub struct X;"),
            ("c/src/b.rs", "pub struct B; mod tests { use crate::a::A; }"),
            ("c/src/a/tests.rs", "use crate::b::B;"),
        ];
        assert_eq!(complaints(&files), [""; 0]);
    }
}
