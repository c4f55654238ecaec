//! The binary and the tests share one compilation of every dependency, or everybody builds the largest of them twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The features of every package, as cargo resolves them over all members.
fn features(edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "-f", "{p}|{f}", "-e", edges])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let line = line.trim_end_matches(" (*)").replace(" (proc-macro)", "");
        if let Some((package, features)) = line.split_once('|') {
            found
                .entry(package.to_owned())
                .or_default()
                .insert(features.trim().to_owned());
        }
    }
    found
}

#[test]
fn tests_build_no_dependency_otherwise_than_the_binary_does() {
    let (binary, tests) = (features("no-dev"), features("all"));
    assert!(binary.len() > 300, "the whole tree was listed");
    for (package, features) in &binary {
        assert_eq!(
            Some(features),
            tests.get(package),
            "{package}: name what its features come from in benches/Cargo.toml too"
        );
    }
}

#[test]
fn no_bug_is_planted_unless_asked_for() {
    for (package, features) in features("all") {
        let planted = features
            .iter()
            .any(|list| list.split(',').any(|name| name == "planted"));
        assert!(!planted, "{package} is built with planted bugs");
    }
}

#[test]
fn archives_have_one_layout_with_and_without_the_embedded_client() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
    let manifest = manifest.expect("the workspace has one");
    let asked = manifest.lines().find(|line| line.starts_with("rkyv = "));
    let asked = asked.expect("archives are rkyv's");
    let ours = features("no-dev")
        .into_iter()
        .find(|(package, _)| package.starts_with("rkyv v"));
    let (_, sets) = ours.expect("it is built");
    // What decides how an archive lies, whoever asks for it: we must ask for it ourselves.
    for set in sets {
        for feature in set.split(',') {
            let is_layout =
                feature.contains("aligned") || feature.contains("endian") || feature.starts_with("pointer_width");
            assert!(
                !is_layout || asked.contains(feature),
                "{feature} comes from a dependency alone"
            );
        }
    }
}
