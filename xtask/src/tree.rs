//! This file knows the tree: every file that is in git or would be added to it, with each Rust file parsed once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this crate stands in the workspace").to_owned()
}

/// Every file, by its path from the root.
#[derive(Default)]
pub struct Tree {
    /// Files of text, in the order of their paths.
    pub files: BTreeMap<String, String>,
    /// The Rust files among them, parsed.
    pub rust: Vec<RustFile>,
}

/// A Rust file.
pub struct RustFile {
    /// From the root, such as `store/src/log.rs`.
    pub path: String,
    /// What stands in it.
    pub text: String,
    /// The same, parsed.
    pub syntax: syn::File,
}

impl Tree {
    /// Reads the working tree: what git knows, and what it does not ignore.
    pub fn read(root: &Path) -> Result<Self> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("git does not start")?;
        ensure!(
            listed.status.success(),
            "git cannot list the files here: {}",
            String::from_utf8_lossy(&listed.stderr).trim()
        );
        let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
        let mut files = Vec::new();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            match std::fs::read(root.join(name)) {
                // What is no text has no rule.
                Ok(bytes) => files.extend(String::from_utf8(bytes).ok().map(|text| (name.to_owned(), text))),
                // Deleted, and not yet committed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
            }
        }
        Self::of(files)
    }

    /// A tree of these files.
    pub fn of(files: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut tree = Self::default();
        for (path, text) in files {
            if path.ends_with(".rs") {
                let syntax = syn::parse_file(&text).with_context(|| format!("{path} is no Rust"))?;
                tree.rust.push(RustFile {
                    path: path.clone(),
                    text: text.clone(),
                    syntax,
                });
            }
            tree.files.insert(path, text);
        }
        Ok(tree)
    }
}

impl RustFile {
    /// Whether only tests, benches or examples are built from it.
    pub fn is_test(&self) -> bool {
        let mut parts = self.path.split('/').skip(1);
        parts.any(|part| matches!(part, "tests" | "tests.rs" | "benches" | "examples" | "fuzz_targets"))
    }

    /// The folder of its crate.
    pub fn crate_folder(&self) -> &str {
        self.path.find("/src/").map_or("", |end| &self.path[..end])
    }

    /// Its module, as the names below the crate's root: `store/src/writer/evidence.rs` is `[writer, evidence]`.
    pub fn module(&self) -> Vec<&str> {
        let below = self
            .path
            .find("/src/")
            .map_or(self.path.as_str(), |end| &self.path[end + 5..]);
        let module = below.strip_suffix(".rs").unwrap_or(below);
        match module {
            "lib" | "main" => Vec::new(),
            module => module.split('/').filter(|part| *part != "mod").collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_knows_its_crate_and_its_module() {
        let tree = Tree::of([
            ("store/src/lib.rs".to_owned(), String::new()),
            ("store/src/writer/evidence.rs".to_owned(), String::new()),
            ("store/src/writer/tests.rs".to_owned(), String::new()),
            ("net/tests/net/main.rs".to_owned(), String::new()),
        ])
        .expect("Rust");
        let found: Vec<_> = tree
            .rust
            .iter()
            .map(|source| (source.crate_folder(), source.module(), source.is_test()))
            .collect();
        assert_eq!(found[0], ("store", vec![], false));
        assert_eq!(found[1], ("store", vec!["writer", "evidence"], false));
        assert!(found[2].2 && found[3].2);
    }

    #[test]
    fn this_tree_is_read_whole() {
        let tree = Tree::read(&root()).expect("a repository");
        assert!(tree.rust.len() > 300 && tree.files.contains_key("Cargo.toml"));
    }
}
