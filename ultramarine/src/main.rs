//! `ultramarine`: see `ultramarine --help` and README.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    ultramarine::cli::main()
}
