//! The project's own chores: `cargo xtask check`, `cargo xtask tidy`, `cargo xtask seed N`.
//!
//! ```text
//!   check ──▶ fmt, tidy, clippy: what CI does first, in its order
//!   tidy  ──▶ Tree (every file, every Rust file parsed) ──▶ rules ──▶ complaints
//!   seed  ──▶ the simulator, on one seed, with its trace
//! ```
#![forbid(unsafe_code)]

mod chores;
mod tidy;
mod tree;

use std::process::ExitCode;

const USAGE: &str = "\
The project's own chores.

Usage: cargo xtask COMMAND

  check             format, tidy and lints: what CI does first
  tidy              say every rule of the tree that is broken, and how plain its English is
  tidy --sentences  the same, with every sentence and comment that counts against it
  seed N [FLAGS]    run the simulator on seed N with its trace; FLAGS go to the simulator
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["check"] => chores::check(),
        ["tidy"] => chores::tidy(false),
        ["tidy", "--sentences"] => chores::tidy(true),
        ["seed", seed, flags @ ..] => chores::seed(seed, flags),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprint!("no such chore: {}\n\n{USAGE}", other.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
