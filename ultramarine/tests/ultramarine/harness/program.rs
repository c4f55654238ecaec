//! Finds the programs of strangers that judge us: EthereumJS, an execution client; Lodestar's client of the Beacon API;
//! and Python. None shares code with us. `.ci/run` installs them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `.ci/run` installs what comes from npm, from the root of the repository.
const INSTALLED: &str = "target/ethereumjs";

/// The program of EthereumJS.
pub fn ethereumjs() -> Option<PathBuf> {
    let program = npm_folder().join("node_modules/.bin/ethereumjs");
    let found = program.canonicalize().ok().filter(|program| program.is_file());
    found.or_else(|| missing("EthereumJS", "ULTRAMARINE_REQUIRE_ETHEREUMJS", &program))
}

/// The folder from which Node.js finds Lodestar's packages. It comes with EthereumJS, and has a folder of its own
/// because the two want different versions of what they share.
pub fn lodestar() -> Option<PathBuf> {
    let folder = npm_folder().join("lodestar");
    let package = folder.join("node_modules/@lodestar/api");
    let found = package.is_dir().then_some(folder);
    found.or_else(|| missing("Lodestar", "ULTRAMARINE_REQUIRE_ETHEREUMJS", &package))
}

pub fn python() -> Option<PathBuf> {
    let program = PathBuf::from("python3");
    let runs = Command::new(&program).arg("--version").output();
    let found = runs.is_ok_and(|output| output.status.success());
    if found {
        return Some(program);
    }
    missing("Python", "ULTRAMARINE_REQUIRE_PYTHON", &program)
}

/// The folder that `ULTRAMARINE_ETHEREUMJS_DIR` names, or where `.ci/run` installs.
fn npm_folder() -> PathBuf {
    std::env::var_os("ULTRAMARINE_ETHEREUMJS_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(INSTALLED),
        PathBuf::from,
    )
}

/// Says that a program is nowhere, past libtest, which swallows the output of tests that pass.
///
/// # Panics
/// If the variable is 1: the program is required.
pub fn missing(what: &str, required: &str, path: &Path) -> Option<PathBuf> {
    let text = format!("no {}; see .ci/run for how to install it", path.display());
    let required = std::env::var(required).is_ok_and(|value| value == "1");
    assert!(!required, "{what} is required: {text}");
    let _ = writeln!(std::io::stderr(), "SKIPPED a test against {what}: {text}");
    None
}
