//! This file knows where a setting was set.

use std::fmt;
use std::path::PathBuf;

/// Where a value was set: what an operator opens to change it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The defaults compiled into the binary.
    Default,
    File {
        path: PathBuf,
        /// The first line is 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment { name: String },
    /// A flag of the command line.
    Flag {
        /// As typed, such as `--engine`.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

/// The line (from 1) that holds byte `offset` of `text`.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
