//! This file knows where tests find programs of strangers: those of the Python registry that `.ci/run` installs.

use std::path::{Path, PathBuf};

use ultramarine_runtime::skip;

/// A program in the folder that `ULTRAMARINE_MOTO_DIR` names, or where `.ci/run` makes it; `None`: `what` is skipped.
///
/// # Panics
/// If there is none where `ULTRAMARINE_REQUIRE_MOTO` is 1.
pub fn program(name: &str, what: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("ULTRAMARINE_MOTO_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/moto"),
        PathBuf::from,
    );
    let program = folder.join("bin").join(name);
    if program.is_file() {
        return Some(program);
    }
    lacking(what, &format!("there is no {}", program.display()));
    None
}

/// Says that `what` is skipped, as something is lacking.
///
/// # Panics
/// If it is required.
pub fn lacking(what: &str, why: &str) {
    let required = std::env::var("ULTRAMARINE_REQUIRE_MOTO").is_ok_and(|value| value == "1");
    assert!(!required, "{what} is required: {why}");
    skip::say(&format!("{what}: {why}; see .ci/run for how to install it"));
}
