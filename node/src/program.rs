//! This file knows what to call the running program in a command that a reader may copy.

use std::path::PathBuf;

/// Its path; it need not be in anybody's search path.
pub fn name() -> String {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("ultramarine"));
    path.display().to_string()
}
