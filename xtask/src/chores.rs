//! This file knows how each chore is done: which commands it runs, and what it prints.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tidy;
use crate::tree::{Tree, root};

/// What CI does first, quickest first.
pub fn check() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    tidy(false)?;
    cargo(&["clippy", "--release", "--all-targets", "--", "-D", "warnings"])
}

/// Prints every complaint, and how plain the English is; fails if there is a complaint.
pub fn tidy(with_sentences: bool) -> Result<()> {
    let tree = Tree::read(&root())?;
    let complaints = tidy::complaints(&tree);
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("{}", tidy::english::report(&tree, with_sentences));
    ensure!(complaints.is_empty(), "{} complaints", complaints.len());
    Ok(())
}

/// Runs the simulator on one seed, with its trace.
pub fn seed(seed: &str, flags: &[&str]) -> Result<()> {
    let seed: u64 = seed
        .parse()
        .with_context(|| format!("{seed:?} is no seed; give a number"))?;
    let seeds = format!("{seed}..{}", seed.checked_add(1).context("there is no such seed")?);
    let simulator = ["run", "--release", "-q", "--bin", "ultramarine-sim", "--"];
    let mut arguments = [&simulator[..], &["--seeds", &seeds, "--trace"]].concat();
    arguments.extend(flags);
    cargo(&arguments)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    println!("$ cargo {}", arguments.join(" "));
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program).args(arguments).current_dir(root()).status();
    let status = status.context("cargo does not start")?;
    ensure!(status.success(), "cargo {} failed", arguments[0]);
    Ok(())
}
