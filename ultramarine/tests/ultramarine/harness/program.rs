//! Finds the program of EthereumJS, an execution client that shares no code with the embedded one.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Where `.ci/run` installs it, from the root of the repository.
const INSTALLED: &str = "target/ethereumjs";

/// Its path: in the folder that `ULTRAMARINE_ETHEREUMJS_DIR` names, or where `.ci/run` installs it. If it is nowhere,
/// that is said (past libtest, which swallows the output of tests that pass), and an error if
/// `ULTRAMARINE_REQUIRE_ETHEREUMJS` is 1.
pub fn ethereumjs() -> Option<PathBuf> {
    let folder = std::env::var_os("ULTRAMARINE_ETHEREUMJS_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(INSTALLED),
        PathBuf::from,
    );
    let program = folder.join("node_modules/.bin/ethereumjs");
    if program.is_file() {
        return Some(program.canonicalize().expect("it is there"));
    }
    let missing = format!("no {}; see .ci/run for how to install it", program.display());
    let required = std::env::var("ULTRAMARINE_REQUIRE_ETHEREUMJS").is_ok_and(|value| value == "1");
    assert!(!required, "EthereumJS is required: {missing}");
    let _ = writeln!(std::io::stderr(), "SKIPPED a test against EthereumJS: {missing}");
    None
}
