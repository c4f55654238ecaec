//! The program `ultramarine`: its command line, the development network it runs, and what publishes blobs.
//!
//! It is the only crate that knows the embedded execution client, which the feature `dev-el` puts inside.
// Those panic where an output is closed or full: `print` and `log` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod devnet;
pub mod embedded;
pub mod log;
pub mod program;
pub mod progress;
pub mod publish;
pub mod terminal;
pub mod top;
