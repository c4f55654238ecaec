//! What we say of the Rust that is needed is true of everything that is compiled here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// `1.94` or `1.94.1`, as numbers that compare.
fn version(text: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = text.split('.').map(|part| part.parse().expect("a number")).collect();
    numbers.resize(3, 0);
    numbers
}

#[test]
fn no_dependency_wants_a_newer_rust_than_we_promise() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(&root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    assert!(packages.len() > 300, "the whole tree was listed");
    let ours = env!("CARGO_PKG_RUST_VERSION");
    for package in packages {
        if let Some(wanted) = package["rust_version"].as_str() {
            assert!(
                version(wanted) <= version(ours),
                "{} {} wants Rust {wanted}, and Cargo.toml and README.md promise that {ours} is enough",
                package["name"],
                package["version"]
            );
        }
    }
    let readme = std::fs::read_to_string(root.join("README.md")).expect("it is there");
    assert!(
        readme.contains(&format!("({ours} or newer)")),
        "README.md names another Rust"
    );
}
